//! What the command line makes of its arguments and files, before it asks a proxy anything.

use std::fs;
use std::path::Path;
use std::process::Command;

use shardway_tests::run_in;
use tempfile::TempDir;

/// What is printed on both streams, and the exit code.
fn told(folder: &Path, arguments: &str) -> (String, i32) {
    let words: Vec<&str> = arguments.split(' ').collect();
    let output = run_in(folder, &words);
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code().unwrap())
}

const GOOD: &str = "rules = \"rules.toml\"\n[[users]]\nname = \"app\"\npassword = \"app\"\n";

fn folder(config: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix("shardway-").tempdir().unwrap();
    fs::create_dir(folder.path().join("conf")).unwrap();
    fs::write(folder.path().join("conf/shardway.toml"), config).unwrap();
    folder
}

#[test]
fn no_command_goes_to_another_proxy_than_that_of_the_configuration() {
    let folder = folder(&format!("lisetn = 1\n{GOOD}"));
    fs::write(folder.path().join("off.toml"), format!("{GOOD}[listen]\nadmin = \"off\"\n")).unwrap();
    for command in [
        "status",
        "rules history",
        "move start shop",
        "move status shop --watch",
        "move check shop",
        "move finish shop",
        "move cleanup shop --now",
        "move rollback shop",
        "move gaps shop --close",
    ] {
        for (more, wrong) in [
            ("--config mistyped.toml", "mistyped.toml: cannot be read"),
            ("--config mistyped.toml --admin 127.0.0.1:1", "mistyped.toml: cannot be read"),
            ("--config conf/shardway.toml", "conf/shardway.toml:1: lisetn: "),
            ("--admin 127.0.0.1:1", "conf/shardway.toml:1: lisetn: "),
            ("--config off.toml", "off.toml has listen.admin = \"off\""),
        ] {
            let (text, code) = told(folder.path(), &format!("{command} {more}"));
            assert!(code == 1 && text.contains(wrong), "{command} {more}: {code} {text}");
            assert!(!text.contains("no proxy answers"), "{command} {more}: {text}");
        }
    }
}

#[test]
fn without_a_configuration_the_address_is_the_named_one_or_the_default() {
    let empty = tempfile::Builder::new().prefix("shardway-").tempdir().unwrap();
    let (text, code) = told(empty.path(), "rules show 7 --admin 127.0.0.1:1");
    assert!(code == 1 && text.contains("no proxy answers at http://127.0.0.1:1;"), "{text}");
    let (text, code) = told(empty.path(), "status");
    assert!(code == 0 || text.contains("http://127.0.0.1:3380"), "{text}");
}

#[test]
fn check_prints_the_problems_of_both_files() {
    let folder = folder(&format!("lisetn = 1\n{GOOD}"));
    fs::write(folder.path().join("conf/rules.toml"), "[tabels.x]\n").unwrap();
    let (text, code) = told(folder.path(), "check");
    assert_eq!(code, 1);
    for problem in ["conf/shardway.toml:1: lisetn: ", "conf/rules.toml: line 1: tabels"] {
        assert!(text.contains(problem), "{problem}: {text}");
    }
    fs::remove_file(folder.path().join("conf/rules.toml")).unwrap();
    let (text, _) = told(folder.path(), "check");
    assert!(text.contains("lisetn") && text.contains("conf/rules.toml: cannot be read"), "{text}");
}

#[test]
fn what_no_move_can_have_is_a_usage_error_and_no_file_is_touched() {
    let empty = tempfile::Builder::new().prefix("shardway-").tempdir().unwrap();
    for (arguments, told_of) in [
        ("--writes bogus", "source or target, or it is a percentage"),
        ("--writes 100.5", "from 0 to 100"),
        ("--double-write bogus", "possible values: off, async, sync, strict"),
        ("--reads 101", "from 0 to 100"),
        ("--reads=-1", "from 0 to 100"),
        ("--reads 0.001", "steps of 0.01"),
        ("--reads nan", "from 0 to 100"),
        ("--reads 1e1", "from 0 to 100"),
        ("--shadow-reads 100.01", "from 0 to 100"),
    ] {
        let (text, code) = told(empty.path(), &format!("traffic shop {arguments}"));
        assert!(code == 2 && text.contains(told_of), "{arguments}: {code} {text}");
    }
    for arguments in
        ["--reads 100", "--reads 0.01 --shadow-reads 99.99", "--writes target --double-write strict"]
    {
        let (text, code) = told(empty.path(), &format!("traffic shop {arguments}"));
        assert!(
            code == 1 && text.contains("conf/shardway.toml: cannot be read"),
            "{arguments}: {code} {text}"
        );
    }
}

#[test]
fn every_help_has_an_example() {
    let folder = folder(GOOD);
    let moves = "preflight start status pause resume verify repair backup rollback finish cleanup check points point gaps throttle rehearse";
    let others = [
        "",
        "serve",
        "check",
        "explain",
        "plan",
        "status",
        "traffic",
        "rules",
        "rules history",
        "rules show",
        "rules revert",
        "move",
    ];
    let of_moves = moves.split(' ').map(|word| format!("move {word}"));
    for command in others.into_iter().map(str::to_owned).chain(of_moves) {
        let (text, code) = told(folder.path(), format!("{command} --help").trim_start());
        assert!(code == 0 && text.contains("Example: shardway"), "{command}: {text}");
    }
}

#[test]
fn the_test_script_knows_its_arguments() {
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../test"));
    for arguments in [&["typo"][..], &["quick", "quick"]] {
        let output = Command::new("/bin/bash").arg(script).args(arguments).env("PATH", "").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
