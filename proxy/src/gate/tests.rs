use super::*;

fn table(name: &str) -> GateName {
    GateName::Table("shop".into(), name.into())
}

#[tokio::test(start_paused = true)]
async fn a_barrier_waits_for_those_inside_and_bars_newcomers() {
    let gates = Arc::new(Gates::new(10));
    let gate = gates.gate(&table("users"));
    let inside = gate.enter(Visitor::New).await.unwrap();
    let holder = tokio::spawn({
        let gates = Arc::clone(&gates);
        async move { gates.hold(&[table("users")], Duration::from_secs(3)).await }
    });
    tokio::task::yield_now().await;
    assert!(gate.try_enter(Visitor::New).is_none());
    let passing = gate.try_enter(Visitor::Inside).expect("a transaction inside passes a closing gate");
    drop(inside);
    drop(passing);
    let held = holder.await.unwrap().unwrap();
    assert!(gate.try_enter(Visitor::Inside).is_none(), "a closed gate lets nobody pass");
    let waiter = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { gate.enter(Visitor::New).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert_eq!(gates.waiting(), 1);
    drop(held);
    waiter.await.unwrap().unwrap();
    assert_eq!(gates.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_does_not_end_undoes_the_barrier() {
    let gates = Gates::new(10);
    let _inside = gates.gate(&table("users")).enter(Visitor::New).await.unwrap();
    let held = gates.hold(&[table("orders"), table("users")], Duration::from_millis(50)).await;
    assert_eq!(held.unwrap_err().to_string(), "1 transaction had not ended after 50 ms");
    assert!(gates.gate(&table("users")).try_enter(Visitor::New).is_some(), "open again");
    assert!(gates.gate(&table("orders")).try_enter(Visitor::New).is_some(), "open again");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_inside_several_gates_is_one() {
    let gates = Gates::new(10);
    let names = [table("orders"), table("users")];
    let mut inside = vec![gates.gate(&names[0]).enter(Visitor::New).await.unwrap()];
    inside.push(gates.gate(&names[1]).enter(Visitor::Inside).await.unwrap());
    let held = gates.hold(&names, Duration::from_millis(50)).await;
    assert_eq!(held.unwrap_err().to_string(), "at least 1 transaction had not ended after 50 ms");
}

#[tokio::test(start_paused = true)]
async fn two_barriers_on_one_table_do_not_mix() {
    let gates = Gates::new(10);
    let first = gates.hold(&[table("users")], Duration::from_secs(1)).await.unwrap();
    let second = gates.hold(&[table("orders"), table("users")], Duration::from_secs(1)).await;
    assert!(matches!(second, Err(NotHeld::Busy)));
    assert!(gates.gate(&table("users")).try_enter(Visitor::Inside).is_none(), "the first still holds");
    assert!(gates.gate(&table("orders")).try_enter(Visitor::New).is_some());
    drop(first);
    assert!(gates.gate(&table("users")).try_enter(Visitor::New).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let gates = Gates::new(0);
    let held = gates.hold(&[table("users")], Duration::from_secs(1)).await.unwrap();
    assert_eq!(gates.gate(&table("users")).enter(Visitor::New).await.map(drop), Err(QueueFull));
    drop(held);
}
