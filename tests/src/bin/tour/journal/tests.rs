use super::*;

fn journal() -> Journal {
    let order = Order { user: 7, amount: "1.50".to_owned(), status: "paid" };
    Journal { orders: BTreeMap::from([(1, order)]), placed: BTreeMap::from([(7, 1)]) }
}

fn found() -> Found {
    let orders = BTreeMap::from([(1, (7, "1.50".to_owned(), "paid".to_owned()))]);
    Found { orders, placed: BTreeMap::from([(7, 1)]) }
}

fn told(change: impl FnOnce(&mut Found)) -> String {
    let mut found = found();
    change(&mut found);
    journal().compare(&found).map_or_else(|error| error.to_string(), |()| "equal".to_owned())
}

#[test]
fn every_difference_from_what_was_acknowledged_is_told() {
    assert_eq!(told(|_| {}), "equal");
    assert_eq!(told(|found| found.orders.clear()), "order 1 was acknowledged and is lost");
    assert!(told(|found| found.orders.get_mut(&1).unwrap().2 = "new".to_owned()).contains("acknowledged as"));
    let twice = (2, (7, "1.50".to_owned(), "paid".to_owned()));
    assert_eq!(told(|found| found.orders.extend([twice])), "2 orders are there, 1 were acknowledged");
    assert!(told(|found| found.placed.clear()).contains("numbers of orders"));
}
