//! Tickets, in the real machine.

use std::time::Duration;

use hostd_testing::{RejectionCode, Reply, host};

#[test]
fn tickets_rise() {
    let mut host = host!();
    for number in 1..=5 {
        assert_eq!(host.call("ticket", &[]), Ok(Reply::Integer(number)));
    }
}

#[test]
fn tickets_rise_over_a_restart() {
    let mut host = host!();
    assert_eq!(host.call("ticket", &[]), Ok(Reply::Integer(1)));
    host.restart();
    host.advance(Duration::from_hours(1));
    assert_eq!(host.call("TICKET", &[]), Ok(Reply::Integer(2)));
}

#[test]
fn a_ticket_takes_no_arguments() {
    let mut host = host!();
    let rejection = host.call("ticket", &["two"]).unwrap_err();
    assert_eq!(rejection.code, RejectionCode::WrongArity);
    assert_eq!(host.call("ticket", &[]), Ok(Reply::Integer(1)));
}
