//! Produce requests: on the connection that a partition is bound to, at the leader, and back.

use std::rc::Rc;

use twinlog_core::batch::Slot;
use twinlog_core::ids::TargetOffset;
use twinlog_core::io::Input;
use twinlog_core::outbox::Answer;
use twinlog_wire::error_code::ErrorCode;

use super::coordinator::lane_of;
use super::profile::Cause;
use super::shell::{lane_partition, produced};
use super::target::Payload;
use super::world::{Broken, Call, Connection, Event, Origin, Pending, Request, Target, Waiter, World};

impl World {
    /// Sends a batch on the connection that its partition is bound to: requests of one connection are processed in
    /// order, and are lost together.
    pub(crate) fn produce(&mut self, origin: Origin, target: Target, call: Call) {
        let partition = match target {
            Target::Map | Target::Marker { .. } => self.map(origin),
            Target::Data { partition, .. } => partition,
        };
        let generation = self.targets[partition].generation;
        let mut connection = self.instances[origin.instance].connections[partition];
        let busy = self.pending.values().any(|other| other.connection == connection.id);
        let fresh = connection.id == 0
            || self.broken.contains_key(&connection.id)
            || (connection.generation != generation && !busy);
        if fresh {
            let told_at = self.now.max(connection.told_at);
            connection = Connection { id: self.number(), at: self.now, generation, told_at };
            self.instances[origin.instance].connections[partition] = connection;
        }
        if let Target::Data { partition: at, slot, attempt } = target {
            let in_flight = self.pending.values().any(|other| other.connection == connection.id);
            if !self.quiet && in_flight && self.rng.chance(self.profile.lost) {
                // It waits behind those in flight, for a connection that will be lost before its turn.
                self.count("batches that wait for a connection that is lost");
                connection.told_at = self.now + self.rng.delay();
                self.instances[origin.instance].connections[partition] = connection;
            }
            if connection.told_at >= self.now {
                // As the link's shell does: the lane first hears that it is another leader, or another connection.
                self.count("looks before a batch goes to another place");
                self.judge.held_back(origin.life, at, &call);
                let (partition, slot, wait) = (lane_partition(at), Slot(slot), connection.told_at - self.now + 1);
                return self.after(wait, Event::Input(origin, Input::MirrorMoved { partition, slot, attempt }));
            }
        }
        let (id, delay) = (self.number(), self.rng.delay());
        self.pending.insert(id, Pending { origin, target, connection: connection.id });
        if !self.quiet && self.rng.chance(self.profile.not_sent) {
            self.instances[origin.instance].connections[partition] = connection;
            self.after(1, Event::Answer(id, origin, target, Answer::NotSent));
            self.after(1, Event::Break(connection.id));
            return;
        }
        connection.at = connection.at.max(self.now + delay);
        self.instances[origin.instance].connections[partition] = connection;
        let request = Request { id, origin, call, heard: true, connection: connection.id, delayed: false, target };
        let at = connection.at - self.now;
        self.after(at, Event::Execute(request));
        if !self.quiet && self.rng.chance(self.profile.lost) {
            self.count("connections broken");
            let at = self.rng.below(2 * at + 2);
            self.after(at, Event::Break(connection.id));
        }
    }

    /// All that waits for an answer on it is lost. The broker may still process some of it, in order, and late.
    pub(crate) fn break_connection(&mut self, connection: u64) {
        if connection == 0 || self.broken.contains_key(&connection) {
            return;
        }
        let waiting: Vec<_> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.connection == connection)
            .map(|(id, pending)| (*id, *pending))
            .collect();
        let cut = match waiting.get(self.rng.index(waiting.len() + 1)) {
            Some((id, _)) if self.rng.chance(700) => *id,
            _ => u64::MAX,
        };
        let delay = if self.rng.chance(self.profile.late) { self.rng.between(1, 5_000) } else { 0 };
        self.broken.insert(connection, Broken { cut, delay });
        for (id, pending) in waiting {
            self.pending.remove(&id);
            let input = produced(pending.target, Answer::Lost);
            self.after(0, Event::Input(pending.origin, input));
        }
    }

    /// The answer to a Produce arrives, unless its connection is gone. One that arrives nevertheless is to an attempt
    /// that is over.
    pub(crate) fn answered(&mut self, request: u64, origin: Origin, target: Target, answer: Answer) {
        let known = self.pending.remove(&request).is_some();
        let again = matches!(target, Target::Data { .. }) && self.rng.chance(self.profile.duplicate_answers);
        if known || again {
            let input = produced(target, answer.clone());
            self.after(0, Event::Input(origin, input));
        }
        if again {
            self.count("answers twice or late");
            let delay = self.rng.delay();
            self.after(delay, Event::Input(origin, produced(target, answer)));
        }
    }

    pub(crate) fn execute_produce(&mut self, mut request: Request) {
        let target = request.target;
        let partition = match target {
            Target::Data { partition, .. } => partition,
            Target::Map | Target::Marker { .. } => self.map(request.origin),
        };
        if let Some(broken) = self.broken.get(&request.connection).copied() {
            // Named rule `lease`: where a broker can forget, what outlives its connection must not outlive the memory
            // of it (the real one lives for seconds in a broker's queue, the memory half a day).
            if request.id >= broken.cut || request.id < self.targets[partition].barrier {
                return;
            }
            if !request.delayed && broken.delay > 0 {
                request.delayed = true;
                return self.after(broken.delay, Event::Execute(request));
            }
            self.count("requests that outlive their connection");
        }
        match self.append_batch(&request, partition) {
            Ok(None) => {}
            Ok(Some((base, end))) => {
                let (origin, id) = (request.origin, request.id);
                if !self.quiet && self.rng.chance(self.profile.refusals) {
                    let after = [ErrorCode::REQUEST_TIMED_OUT, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND];
                    let code = self.rng.pick(&after);
                    self.count("refused after the append");
                    return self.reply(id, origin, target, Answer::Refused(code, String::new()));
                }
                self.waiters[partition].push_back(Waiter { end, base, request: id, origin, target });
                self.answer_waiters(partition);
            }
            Err((code, words)) => {
                let (origin, id) = (request.origin, request.id);
                self.note(|_| format!("produce {id} to {partition}: {code}"));
                self.reply(id, origin, target, Answer::Refused(code, words.into()));
            }
        }
    }

    fn reply(&mut self, request: u64, origin: Origin, target: Target, answer: Answer) {
        let delay = self.rng.between(1, 4);
        self.after(delay, Event::Answer(request, origin, target, answer));
    }

    /// `Ok(None)`: the connection died with the broker.
    #[allow(clippy::type_complexity, reason = "two offsets, or a code and its words: used in one place")]
    fn append_batch(
        &mut self,
        request: &Request,
        partition: usize,
    ) -> Result<Option<(i64, i64)>, (ErrorCode, &'static str)> {
        let generation = self.instances[request.origin.instance].connections[partition];
        let stale = generation.id == request.connection && generation.generation != self.targets[partition].generation;
        if self.targets[partition].down_until > self.now {
            if self.rng.chance(500) {
                self.break_connection(request.connection);
                return Ok(None);
            }
            return Err((ErrorCode::NOT_LEADER_OR_FOLLOWER, ""));
        }
        if stale {
            return Err((ErrorCode::NOT_LEADER_OR_FOLLOWER, ""));
        }
        if !self.quiet && self.rng.chance(self.profile.refusals) {
            self.count("refused before the append");
            if request.target == Target::Map && self.rng.chance(300) {
                // What a retry of the same bytes does not help against: the lane begins anew.
                return Err((ErrorCode::CORRUPT_MESSAGE, ""));
            }
            let before = [
                ErrorCode::NOT_LEADER_OR_FOLLOWER,
                ErrorCode::NOT_ENOUGH_REPLICAS,
                ErrorCode::KAFKA_STORAGE_ERROR,
                ErrorCode::UNKNOWN_SERVER_ERROR,
            ];
            return Err((self.rng.pick(&before), ""));
        }
        let cause = self.cause_of(partition);
        let (producer, sequence, count, timestamp, payload) = match &request.call {
            Call::Produce { producer, sequence, content, .. } => {
                match cause {
                    Some(Cause::TooLarge) if content.bad => return Err((ErrorCode::MESSAGE_TOO_LARGE, "")),
                    Some(Cause::Refused) if content.bad => return Err((ErrorCode::INVALID_RECORD, "no key")),
                    _ => {}
                }
                let payload = Payload::Records(Rc::clone(content));
                (*producer, *sequence, content.records.len() as i64, content.max_timestamp, payload)
            }
            Call::WriteMap(batch) => {
                let payload = Payload::Map(Rc::new(batch.records.clone()));
                (batch.producer, batch.sequence, batch.records.len() as i64, batch.timestamp_ms, payload)
            }
            _ => return Ok(None),
        };
        let before = self.targets[partition].duplicates;
        let appended = self.targets[partition].append(producer, sequence, count, timestamp, payload.clone());
        if self.targets[partition].duplicates > before {
            self.count("duplicates answered from memory");
        }
        match appended {
            Ok(appended) => {
                self.note(|_| format!("append {producer:?} {sequence} to {partition}: {appended:?}"));
                if !appended.duplicate {
                    if let Payload::Map(records) = &payload {
                        self.judge_map_write(records, appended.end);
                    }
                    self.appended(partition);
                }
                Ok(Some((appended.base, appended.end)))
            }
            Err(code) => {
                self.count(match code {
                    ErrorCode::INVALID_PRODUCER_EPOCH => "47 to a Produce",
                    _ => "45 to a Produce",
                });
                Err((code, ""))
            }
        }
    }

    /// The followers will have it soon.
    pub(crate) fn appended(&mut self, partition: usize) {
        let lag = if self.profile.high_watermark_lags && self.rng.chance(200) {
            self.rng.between(20, 1_500)
        } else {
            self.rng.below(4)
        };
        let generation = self.targets[partition].generation;
        self.after(lag, Event::HighWatermark { partition, generation });
    }

    pub(crate) fn advance_high_watermark(&mut self, partition: usize, generation: u64) {
        let log = &mut self.targets[partition];
        if log.generation != generation {
            return;
        }
        log.high_watermark = log.end();
        self.answer_waiters(partition);
    }

    fn answer_waiters(&mut self, partition: usize) {
        let reached = self.targets[partition].high_watermark;
        while let Some(waiter) = self.waiters[partition].front().filter(|waiter| waiter.end <= reached).cloned() {
            self.waiters[partition].pop_front();
            if let Target::Marker { transaction, producer } = waiter.target {
                self.coordinators[lane_of(producer.id)].written(transaction, partition);
                continue;
            }
            let (base, log_start) = (TargetOffset(waiter.base), TargetOffset(self.targets[partition].start));
            let answer = Answer::Stored { base, log_start };
            self.reply(waiter.request, waiter.origin, waiter.target, answer);
        }
    }
}
