//! Clocks that are set.

use hostd_client::Reply;

use super::{Scene, scene};

/// How far clocks are set.
const JUMP_MS: u64 = 20_000;
/// How long keys are to live.
const LIFE_MS: u64 = 60_000;
/// How exact the answer is to the question when something expired: by the pause between two looks
/// and the time that a look takes.
const EXACT_MS: u64 = 500;

impl Scene {
    /// Sets the leader's clock.
    fn set_clock(&self, by_ms: i64) {
        self.world.nodes[&self.leader()].clock.shift_ms(by_ms);
    }

    /// Sets a key that is to live for [`LIFE_MS`], and returns when.
    fn expiring(&mut self) -> u64 {
        let life = LIFE_MS.to_string();
        self.call("kv.set", &["expiring", "here", "PX", &life]);
        self.world.now_ms()
    }

    /// Waits until the key is gone and returns how long that took since `set`.
    fn lifetime_ms(&mut self, set: u64) -> u64 {
        while self.call("kv.get", &["expiring"]) != Reply::Nil {
            self.pass(EXACT_MS / 5);
            assert!(self.world.now_ms() < set + 3 * LIFE_MS, "it never expires");
        }
        self.world.now_ms() - set
    }

    /// Replicated time, in nanoseconds.
    fn replicated_time(&mut self) -> i64 {
        match self.call("hostile.time", &[]) {
            Reply::Integer(time) => time,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn without_a_jump_a_key_lives_as_long_as_it_is_to() {
    scene(7, |scene| {
        let set = scene.expiring();
        let lived = scene.lifetime_ms(set);
        assert!(lived.abs_diff(LIFE_MS) <= EXACT_MS, "{lived} ms");
    });
}

#[test]
fn a_clock_set_forward_makes_keys_expire_early_by_the_jump_and_no_more() {
    scene(7, |scene| {
        let before = scene.replicated_time();
        let set = scene.expiring();
        scene.set_clock(JUMP_MS as i64);
        let after = scene.replicated_time();
        let risen_ms = (after - before) as u64 / 1_000_000;
        assert!(risen_ms.abs_diff(JUMP_MS) <= EXACT_MS, "{risen_ms} ms");
        let lived = scene.lifetime_ms(set);
        assert!(lived.abs_diff(LIFE_MS - JUMP_MS) <= EXACT_MS, "{lived} ms");
    });
}

#[test]
fn a_clock_set_back_makes_deadlines_wait_while_time_still_rises() {
    scene(8, |scene| {
        let set = scene.expiring();
        scene.set_clock(-(JUMP_MS as i64));
        let first = scene.replicated_time();
        scene.pass(JUMP_MS / 2);
        let second = scene.replicated_time();
        assert!(second > first, "time stands still");
        let risen_ns = second - first;
        assert!(risen_ns < 1_000_000, "time rises by {risen_ns} ns");
        let lived = scene.lifetime_ms(set);
        assert!(lived.abs_diff(LIFE_MS + JUMP_MS) <= EXACT_MS, "{lived} ms");
    });
}
