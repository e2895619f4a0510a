//! The link's instance as a member of the link's group on the target: the shell around
//! [`twinlog_core::members::Membership`]. A task of its own, so that nothing that takes long holds up a heartbeat.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use twinlog_client::admin::{GroupJoin, GroupJoined, GroupMember};
use twinlog_client::{Cluster, Error, ErrorCode};
use twinlog_core::config;
use twinlog_core::io::Failure;
use twinlog_core::members::{Answer, Event, Input, MembersConfig, Membership, Output, Request};

use crate::environment::BootClock;
use crate::lane::{failure, words};
use crate::lease::Lease;
use crate::names::group;

/// What kind of group it is, to brokers and to those who look at groups.
const PROTOCOL_TYPE: &str = "twinlog";
/// The words and plans of `twinlog_core::members`. Another format of them needs another name.
const PROTOCOL: &str = "lanes";

/// What the group says of lanes.
#[derive(Debug)]
pub(crate) enum News {
    /// The lane is ours.
    Own(u32),
    /// The lane is to move: drain it, then say so.
    LetGo(u32),
    /// The lane is not ours any more.
    Lost(u32),
    /// A plan was carried out: what is not ours is somebody else's.
    Shared {
        /// Whether this instance leads the group.
        leads: bool,
    },
    /// The group will never take us.
    Refused(ErrorCode),
    /// We have left.
    Left,
}

/// What a membership runs with.
#[derive(Clone, Debug)]
pub(crate) struct MembersSetup {
    pub(crate) link: String,
    pub(crate) target: Cluster,
    pub(crate) config: config::Members,
    pub(crate) lanes: u32,
    pub(crate) clock: BootClock,
}

/// A membership at work. It ends when this is dropped, without a word to the group.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) news: mpsc::UnboundedReceiver<News>,
    inputs: mpsc::UnboundedSender<Input>,
    task: AbortHandle,
}

impl Drop for Members {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Members {
    /// Begins to join. The lease holds only while the group says so.
    pub(crate) fn begin(setup: MembersSetup, lease: Lease) -> Self {
        let (inputs, inbox) = mpsc::unbounded_channel();
        let (news_sender, news) = mpsc::unbounded_channel();
        let config = MembersConfig { session_ms: ms(setup.config.session_timeout), settle_ms: ms(setup.config.settle) };
        let core = Membership::new(config, setup.lanes, setup.clock.now_ms());
        let shell = Shell { setup, core, lease, inputs: inputs.clone(), news: news_sender };
        let task = tokio::spawn(shell.run(inbox)).abort_handle();
        Self { news, inputs, task }
    }

    /// A lane that was to be let go is drained, or cannot be.
    pub(crate) fn let_gone(&self, lane: u32) {
        self.tell(Input::LetGone(lane));
    }

    /// How many bytes a second lanes copied lately.
    pub(crate) fn rates(&self, rates: BTreeMap<u32, u64>) {
        self.tell(Input::Rates(rates));
    }

    /// How many lanes there are.
    pub(crate) fn lanes(&self, lanes: u32) {
        self.tell(Input::Lanes(lanes));
    }

    /// Leaves the group; [`News::Left`] follows. No lane may be written any more.
    pub(crate) fn leave(&self) {
        self.tell(Input::Leave);
    }

    fn tell(&self, input: Input) {
        // A membership that was refused or left listens no more.
        drop(self.inputs.send(input));
    }
}

struct Shell {
    setup: MembersSetup,
    core: Membership,
    lease: Lease,
    inputs: mpsc::UnboundedSender<Input>,
    news: mpsc::UnboundedSender<News>,
}

impl Shell {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Input>) {
        // Dropped when another takes its place: a request that waits for others holds its connection up.
        let mut waiting: Option<AbortHandle> = None;
        loop {
            // Before anybody hears of a lane that is lost.
            self.lease.set(self.core.lease_until());
            while let Some(output) = self.core.poll_output() {
                if let Some(over) = self.output(output, &mut waiting) {
                    drop(self.news.send(over));
                    return;
                }
            }
            let now = self.setup.clock.now_ms();
            let pause = self.core.poll_timeout().map(|at| Duration::from_millis(at.saturating_sub(now)));
            let mut alarm = pin!(sleep(pause.unwrap_or(Duration::MAX)));
            tokio::select! {
                biased;
                Some(input) = inbox.recv() => {
                    let now = self.setup.clock.now_ms();
                    self.core.handle(now, input);
                }
                () = &mut alarm, if pause.is_some() => {
                    let now = self.setup.clock.now_ms();
                    self.core.handle_timeout(now);
                }
            }
        }
    }

    /// Carries an output out; the last news if it is over.
    fn output(&self, output: Output, waiting: &mut Option<AbortHandle>) -> Option<News> {
        let news = match output {
            Output::Ask { question, request, limit_ms } => {
                let waits = matches!(request, Request::Join { .. } | Request::Sync { .. });
                let asked = self.ask(question, request, Duration::from_millis(limit_ms));
                if waits && let Some(former) = waiting.replace(asked) {
                    former.abort();
                }
                return None;
            }
            Output::Event(event) => {
                self.log(&event);
                match event {
                    Event::Member { leads, .. } => News::Shared { leads },
                    Event::Out | Event::Retrying(..) => return None,
                }
            }
            Output::Own(lane) => News::Own(lane),
            Output::LetGo(lane) => News::LetGo(lane),
            Output::Lost(lane) => News::Lost(lane),
            Output::Refused(code) => return Some(News::Refused(code)),
            Output::Left => return Some(News::Left),
        };
        // Whoever does not listen any more is dropping this task, too.
        drop(self.news.send(news));
        None
    }

    fn ask(&self, question: u64, request: Request, limit: Duration) -> AbortHandle {
        let (target, link, inputs) = (self.setup.target.clone(), self.setup.link.clone(), self.inputs.clone());
        let asked = tokio::spawn(async move {
            // The limit is for all of it: the look for the coordinator and the connection, too.
            let result = match timeout(limit, ask(&target, &group(&link), request, limit)).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => {
                    tracing::debug!(link, %error, "The group's coordinator says no.");
                    Err(failure(&error))
                }
                Err(_elapsed) => Err(Failure::Lost),
            };
            // The membership may be over by now.
            drop(inputs.send(Input::Answer(question, result)));
        });
        asked.abort_handle()
    }

    fn log(&self, event: &Event) {
        let link = &self.setup.link;
        match event {
            Event::Member { generation, leads, lanes } => {
                tracing::info!(link, generation, leads, lanes, "Lanes are shared out.");
            }
            Event::Out => {
                tracing::warn!(link, "The link's group has not heard of this instance for too long: it joins again.");
            }
            Event::Retrying(failure @ Failure::Code(ErrorCode::GROUP_AUTHORIZATION_FAILED), doing) => {
                let group = group(link);
                let failure = words(*failure);
                tracing::error!(link, group, doing, failure, "The target does not let this instance into its group.");
            }
            Event::Retrying(failure, doing) => {
                tracing::info!(link, doing, failure = words(*failure), "Waiting for the link's group.");
            }
        }
    }
}

async fn ask(target: &Cluster, group: &str, request: Request, limit: Duration) -> Result<Answer, Error> {
    match request {
        Request::Join { member_id, word, session_ms, rebalance_ms } => {
            let join = GroupJoin {
                group,
                member_id: &member_id,
                protocol_type: PROTOCOL_TYPE,
                protocol: PROTOCOL,
                metadata: word.into(),
                session_timeout: Duration::from_millis(session_ms),
                rebalance_timeout: Duration::from_millis(rebalance_ms),
            };
            Ok(match target.join_group(&join, limit).await? {
                GroupJoined::IdRequired(member_id) => Answer::IdRequired(member_id),
                GroupJoined::Generation { generation, member_id, leader, members } => {
                    let members = members.into_iter().map(|(id, word)| (id, word.to_vec())).collect();
                    Answer::Joined { generation, member_id, leader, members }
                }
            })
        }
        Request::Sync { member_id, generation, plan } => {
            let member = GroupMember { group, member_id: &member_id, generation };
            let plan: Vec<_> = plan.into_iter().map(|(id, part)| (id, part.into())).collect();
            let part = target.sync_group(member, PROTOCOL_TYPE, PROTOCOL, &plan, limit).await?;
            Ok(Answer::Synced(part.to_vec()))
        }
        Request::Heartbeat { member_id, generation } => {
            let member = GroupMember { group, member_id: &member_id, generation };
            target.heartbeat(member, limit).await.map(|()| Answer::Done)
        }
        Request::Leave { member_id } => target.leave_group(group, &member_id, limit).await.map(|()| Answer::Done),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
