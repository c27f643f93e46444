//! What the steps must give: two sorted maps and a clock.

use std::collections::BTreeMap;

use hostd_protocol::{Limits, Outcome, REPLY_DEPTH_MAX, RejectionCode, Reply};
use scripted::steps::{Range, Reader, Step, Token, When};

/// Bounds of `host/machine` that are part of the rules.
const SCAN_BUFFER_BYTES: usize = 64 << 10;
const RANDOM_BYTES_MAX: u32 = 64 << 10;
const EVENT_BYTES_MAX: usize = 1 << 20;
const CODE_BYTES_MAX: usize = 64;

/// What a command comes to.
#[derive(Debug)]
pub(super) enum Expected {
    /// What each step gave; `None` where only the machine knows.
    Given(Vec<Option<Vec<u8>>>),
    /// This reply.
    Reply(Reply),
    /// A rejection; nothing happened.
    Rejected(RejectionCode),
    /// A rejection for having asked for too much, of whatever was too much first.
    Exhausted,
}

/// A plugin's state, and the memory of its instance.
#[derive(Clone, Debug)]
struct State {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    timers: BTreeMap<Vec<u8>, u64>,
    events: Vec<(String, Vec<u8>)>,
}

#[derive(Debug)]
pub(super) struct Model {
    limits: Limits,
    state: State,
    time: u64,
    /// What the instance counts in its memory.
    count: u64,
    /// What the instance took, in pages.
    grown: usize,
}

/// How far a command has come.
struct Run<'model> {
    limits: &'model Limits,
    state: State,
    now: u64,
    read_only: bool,
    count: u64,
    grown: usize,
    /// Bytes that went from host to guest or back, about.
    moved: usize,
    /// Rows and calls.
    calls: usize,
    event_bytes: usize,
}

/// How a command ends before its last step.
enum End {
    Rejected(RejectionCode),
    /// The instance is dropped too.
    Stopped(RejectionCode),
    Reply(Vec<Token>),
}

type Given = Result<Option<Vec<u8>>, End>;

impl Model {
    pub(super) fn new(limits: Limits, time: u64) -> Self {
        Self {
            limits,
            state: State {
                rows: BTreeMap::new(),
                timers: BTreeMap::new(),
                events: Vec::new(),
            },
            time,
            count: 0,
            grown: 0,
        }
    }

    pub(super) fn time(&self) -> u64 {
        self.time
    }

    pub(super) fn next_timer(&self) -> Option<u64> {
        self.state.timers.values().copied().min()
    }

    fn advance(&mut self, leader: u64) -> u64 {
        self.time = leader.max(self.time + 1);
        self.time
    }

    pub(super) fn checkpoint(&mut self, time: u64) {
        self.advance(time);
        self.drop_instance();
    }

    fn drop_instance(&mut self) {
        self.count = 0;
        self.grown = 0;
    }

    /// A write command. Where only the machine knows whether it had enough of everything, its
    /// `outcome` says so.
    pub(super) fn write(
        &mut self,
        time: u64,
        script: &[u8],
        outcome: &Outcome,
        events: &mut Vec<(String, Vec<u8>)>,
    ) -> Expected {
        let now = self.advance(time);
        let mut run = self.begin(now, false);
        let given = run.all(script);
        let exhausted = run.may_be_exhausted() && outcome.is_err();
        let (count, grown, state) = (run.count, run.grown, run.state);
        (self.count, self.grown) = (count, grown);
        if exhausted {
            // A rejection of the plugin's own leaves its instance as it is; else it is dropped.
            let expected = match given {
                Err(End::Rejected(code)) if outcome.as_ref().is_err_and(|it| it.code == code) => {
                    return Expected::Rejected(code);
                }
                _ => Expected::Exhausted,
            };
            if !is_bad_reply(outcome) {
                self.drop_instance();
            }
            return expected;
        }
        let expected = match given {
            Ok(given) => {
                let replied: usize = 32
                    + given
                        .iter()
                        .map(|given| 32 + given.as_ref().map_or(0, Vec::len))
                        .sum::<usize>();
                // Only what is known counts; what is not is small, or made it exhausted.
                if replied as u64 > self.limits.reply_bytes_max {
                    Expected::Rejected(RejectionCode::TooLarge)
                } else {
                    Expected::Given(given)
                }
            }
            Err(End::Rejected(code)) => Expected::Rejected(code),
            Err(End::Stopped(code)) => {
                self.drop_instance();
                Expected::Rejected(code)
            }
            Err(End::Reply(tokens)) => assemble(&tokens, self.limits.reply_bytes_max),
        };
        if matches!(expected, Expected::Given(_) | Expected::Reply(_)) {
            self.state = state;
            events.append(&mut self.state.events);
        }
        expected
    }

    /// A query: nothing changes, and what its instance has in memory is its own affair. `None`
    /// when it may have run out of something.
    pub(super) fn read(&self, script: &[u8]) -> Option<Expected> {
        let mut run = self.begin(self.time, true);
        run.grown = 0;
        let given = run.all(script);
        // Its instance may be any that was made since the checkpoint.
        let may_be_exhausted = run.may_be_exhausted() || run.grown > 0 || run.moved > 1 << 20;
        if may_be_exhausted {
            return None;
        }
        Some(match given {
            Ok(given) => Expected::Given(given),
            Err(End::Rejected(code) | End::Stopped(code)) => Expected::Rejected(code),
            Err(End::Reply(tokens)) => assemble(&tokens, self.limits.reply_bytes_max),
        })
    }

    /// Timers that are due, each a command of its own. `None` when a handler may have run out of
    /// something.
    pub(super) fn wake(&mut self, time: u64) -> Option<i64> {
        let first = self.advance(time);
        let mut fired = 0;
        while fired < self.limits.timers_per_wake {
            let due = |(id, at): (&Vec<u8>, &u64)| (*at, id.clone());
            let Some((_, id)) = self
                .state
                .timers
                .iter()
                .map(due)
                .min()
                .filter(|(at, _)| *at <= first)
            else {
                break;
            };
            self.state.timers.remove(&id);
            fired += 1;
            let now = if fired == 1 {
                first
            } else {
                self.advance(first)
            };
            let mut run = self.begin(now, false);
            let given = run.all(&id);
            if run.may_be_exhausted() {
                return None;
            }
            let (count, grown, state) = (run.count, run.grown, run.state);
            (self.count, self.grown) = (count, grown);
            match given {
                Ok(_) | Err(End::Reply(_)) => {
                    self.state = state;
                    self.state.events.clear();
                }
                Err(End::Rejected(_)) => {}
                Err(End::Stopped(_)) => self.drop_instance(),
            }
        }
        Some(fired as i64)
    }

    fn begin(&self, now: u64, read_only: bool) -> Run<'_> {
        Run {
            limits: &self.limits,
            state: self.state.clone(),
            now,
            read_only,
            count: self.count,
            grown: self.grown,
            moved: 0,
            calls: 0,
            event_bytes: 0,
        }
    }
}

/// Whether the plugin ended well and only its reply was refused.
fn is_bad_reply(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|rejection| {
        rejection.message.starts_with("the reply is larger")
            || rejection.message == "the plugin's reply is malformed"
    })
}

impl Run<'_> {
    /// Whether fuel or memory may not have been enough. The guest's own work on what it gets is
    /// taken as ten instructions a byte at most, and its memory as several times of it.
    fn may_be_exhausted(&self) -> bool {
        let fuel = 50_000 + self.calls * 5_000 + self.moved * 12;
        let memory = (4 << 20) + self.grown * (64 << 10) + self.moved * 4;
        fuel as u64 > self.limits.fuel_per_command || memory as u64 > self.limits.memory_bytes_max
    }

    fn all(&mut self, script: &[u8]) -> Result<Vec<Option<Vec<u8>>>, End> {
        let mut all = Vec::new();
        self.moved += script.len();
        for step in Reader::new(script) {
            self.calls += 1;
            let given = self.one(step)?;
            self.moved += given.as_ref().map_or(0, Vec::len);
            all.push(given);
        }
        Ok(all)
    }

    fn writable(&self) -> Result<(), End> {
        if self.read_only {
            Err(End::Stopped(RejectionCode::ReadOnly))
        } else {
            Ok(())
        }
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), End> {
        self.moved += key.len() + value.as_ref().map_or(0, Vec::len);
        self.calls += 1;
        self.writable()?;
        if key.len() as u64 > self.limits.key_bytes_max {
            return Err(End::Stopped(RejectionCode::TooLarge));
        }
        if value
            .as_ref()
            .is_some_and(|value| value.len() as u64 > self.limits.value_bytes_max)
        {
            return Err(End::Stopped(RejectionCode::TooLarge));
        }
        match value {
            Some(value) => self.state.rows.insert(key, value),
            None => self.state.rows.remove(&key),
        };
        Ok(())
    }

    fn one(&mut self, step: Step) -> Given {
        let mut given = Vec::new();
        match step {
            Step::Get(key) => self.get(&mut given, &key),
            Step::GetMany(keys) => {
                for key in keys {
                    self.get(&mut given, &key);
                }
            }
            Step::Put(key, value) => self.write(key, Some(value))?,
            Step::Delete(key) => self.write(key, None)?,
            Step::WriteBatch(writes) => {
                for (key, value) in writes {
                    self.write(key, value)?;
                }
            }
            Step::Scan(range) => given = self.scan(&range),
            Step::DeleteRange(range) => {
                self.writable()?;
                let keys = self.keys(&Range {
                    reverse: false,
                    ..range
                });
                number(&mut given, keys.len() as u64);
                for key in keys {
                    self.moved += key.len();
                    self.calls += 1;
                    self.state.rows.remove(&key);
                }
            }
            Step::Now => number(&mut given, self.now),
            Step::Random => return Ok(None),
            Step::RandomBytes(length) => {
                if length > RANDOM_BYTES_MAX {
                    return Err(End::Stopped(RejectionCode::TooLarge));
                }
                self.moved += length as usize;
                return Ok(None);
            }
            Step::SetTimer(id, when) => {
                let at = match when {
                    When::After(after) => self.now.saturating_add(after.into()),
                    When::At(at) => at,
                };
                self.writable()?;
                self.state.timers.insert(id, at.max(self.now + 1));
            }
            Step::CancelTimer(id) => {
                self.writable()?;
                self.state.timers.remove(&id);
            }
            Step::GetTimer(id) => {
                let at = self.state.timers.get(&id);
                option(
                    &mut given,
                    at.map(|at| at.to_le_bytes().to_vec()).as_deref(),
                );
            }
            Step::Publish(topic, payload) => {
                let bytes = topic.len() + payload.len();
                self.moved += bytes;
                self.writable()?;
                self.event_bytes += bytes;
                if self.event_bytes > EVENT_BYTES_MAX {
                    return Err(End::Stopped(RejectionCode::TooLarge));
                }
                self.state.events.push((topic, payload));
            }
            Step::Log(_, message) => self.moved += message.len(),
            Step::Grow(pages) => self.grown += usize::from(pages),
            Step::Count => {
                self.count += 1;
                if self.read_only {
                    return Ok(None);
                }
                number(&mut given, self.count - 1);
            }
            Step::Spin(times) => self.calls += usize::from(times) / 500,
            Step::Panic | Step::OutOfBounds | Step::Recurse => {
                return Err(End::Stopped(RejectionCode::Trapped));
            }
            Step::Forever => return Err(End::Stopped(RejectionCode::FuelExhausted)),
            Step::Reject(mut code, _) => {
                code.truncate(code.floor_char_boundary(CODE_BYTES_MAX));
                return Err(End::Rejected(RejectionCode::Rejected(code)));
            }
            Step::NotFound => return Err(End::Rejected(RejectionCode::NotFound)),
            Step::Reply(tokens) => return Err(End::Reply(tokens)),
        }
        Ok(Some(given))
    }

    fn get(&mut self, given: &mut Vec<u8>, key: &[u8]) {
        self.calls += 1;
        self.moved += key.len();
        option(given, self.state.rows.get(key).map(Vec::as_slice));
    }

    /// Keys of a range, in its order, at most as many as it asks for.
    fn keys(&self, range: &Range) -> Vec<Vec<u8>> {
        let inside = |key: &&Vec<u8>| {
            **key >= range.start && range.end.as_ref().is_none_or(|end| *key < end)
        };
        let keys = self.state.rows.keys().filter(inside).cloned();
        let limit = match range.limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        if range.reverse {
            let mut keys: Vec<_> = keys.collect();
            keys.reverse();
            keys.truncate(limit);
            keys
        } else {
            keys.take(limit).collect()
        }
    }

    fn scan(&mut self, range: &Range) -> Vec<u8> {
        let mut buffer = Vec::new();
        for key in self.keys(range) {
            self.calls += 1;
            let value = &self.state.rows[&key];
            let bytes = 4 + key.len() + if range.keys_only { 0 } else { 4 + value.len() };
            if !buffer.is_empty() && buffer.len() + bytes > SCAN_BUFFER_BYTES {
                break;
            }
            pack(&mut buffer, &key);
            if !range.keys_only {
                pack(&mut buffer, value);
            }
        }
        buffer
    }
}

fn pack(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    buffer.extend_from_slice(bytes);
}

fn option(given: &mut Vec<u8>, value: Option<&[u8]>) {
    given.push(value.is_some().into());
    if let Some(value) = value {
        pack(given, value);
    }
}

fn number(given: &mut Vec<u8>, number: u64) {
    given.extend_from_slice(&number.to_le_bytes());
}

/// By the definition in `wit/types.wit`: exactly one value in prefix order.
fn assemble(tokens: &[Token], bytes_max: u64) -> Expected {
    let mut rest = tokens;
    match value(&mut rest, 0) {
        Some(reply) if rest.is_empty() => {
            if reply.size_bytes() as u64 > bytes_max {
                Expected::Rejected(RejectionCode::TooLarge)
            } else {
                Expected::Reply(reply)
            }
        }
        _ => Expected::Rejected(RejectionCode::Trapped),
    }
}

fn value(rest: &mut &[Token], depth: usize) -> Option<Reply> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    if depth > REPLY_DEPTH_MAX {
        return None;
    }
    Some(match first {
        Token::Nil => Reply::Nil,
        Token::Ok => Reply::Ok,
        Token::Integer(number) => Reply::Integer(*number),
        Token::Double(bits) => match f64::from_bits(*bits) {
            number if number.is_nan() => Reply::Double(f64::NAN),
            number => Reply::Double(number),
        },
        Token::Text(text) => Reply::Text(text.clone()),
        Token::Bytes(bytes) => Reply::Bytes(bytes.clone()),
        Token::Array(count) => {
            let items = (0..*count).map(|_| value(rest, depth + 1));
            Reply::Array(items.collect::<Option<_>>()?)
        }
        Token::Map(count) => {
            let pairs =
                (0..*count).map(|_| Some((value(rest, depth + 1)?, value(rest, depth + 1)?)));
            Reply::Map(pairs.collect::<Option<_>>()?)
        }
    })
}
