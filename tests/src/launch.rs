//! Child processes that end with the test process: the kernel kills them when the thread that started them is gone, so
//! one thread starts them all and never ends.

use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts a command through `setpriv --pdeathsig KILL`, which `command` must begin with.
pub(crate) fn launch(command: Command) -> std::io::Result<Child> {
    static LAUNCHER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, started) = channel();
    let orders = launcher.lock().expect("no launch panics").clone();
    orders.send((command, answer)).expect("the launcher never ends");
    started.recv().expect("the launcher answers every order")
}

/// A command that dies with us.
pub(crate) fn bound(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// A port that nobody listens on, below those that the kernel gives to outgoing connections; never the same twice.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run side by side begin at different places.
    let first = std::process::id().wrapping_mul(97);
    loop {
        let port = 10_000 + first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = u16::try_from(port).expect("below 30,000");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
