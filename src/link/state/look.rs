//! The state for whoever only looks, and its errors as the ends of verbs.

use twinlog_core::link_state::{LinkState, Refusal};
use twinlog_core::report::{Failure, FailureKind};

use super::{StateError, StateTopic};
use crate::map_topic::MapTopicError;
use crate::reach::out_of_reach;
use crate::supervisor::LinkSetup;

/// What the link's state says as of now; none if there is no state topic.
pub(crate) async fn look(setup: &LinkSetup) -> Result<Option<LinkState>, Failure> {
    match open(setup).await? {
        Some(topic) => read(&topic).await.map(Some),
        None => Ok(None),
    }
}

/// The state topic, if it is there.
pub(crate) async fn open(setup: &LinkSetup) -> Result<Option<StateTopic>, Failure> {
    let opened = StateTopic::open(&setup.target, &setup.name, setup.environment.clock.clone()).await;
    opened.map_err(|error| failure(&error))
}

/// What it says as of now.
pub(crate) async fn read(topic: &StateTopic) -> Result<LinkState, Failure> {
    topic.read().await.map_err(|error| failure(&error))
}

/// An error as a verb's end.
pub(crate) fn failure(error: &StateError) -> Failure {
    let what = error.to_string();
    match error {
        StateError::Client(error) | StateError::Topic(MapTopicError::Client(error)) => out_of_reach(error),
        StateError::Refused(refusal) => {
            let (kind, to_do) = what_to_do(refusal);
            Failure::new(kind, what).advise(to_do)
        }
        StateError::Busy(_) => Failure::new(FailureKind::Difference, what),
        StateError::NotWritten { .. } => {
            Failure::new(FailureKind::Refused, what).advise("see its settings, and what `twinlog check` says of rights")
        }
        StateError::Cut { .. } => Failure::new(FailureKind::Difference, what).advise("look at its brokers' logs"),
        StateError::Topic(_) | StateError::Unreadable { .. } => Failure::new(FailureKind::Refused, what),
    }
}

fn what_to_do(refusal: &Refusal) -> (FailureKind, &'static str) {
    match refusal {
        Refusal::NoLanes => (FailureKind::Difference, "start the link once: twinlog run"),
        Refusal::NoLane { .. } => (FailureKind::Usage, "see `twinlog lanes` for those that there are"),
        Refusal::Unknown(_) => (FailureKind::Difference, "see `twinlog status` for those that are mirrored"),
        Refusal::Moving(..) => (FailureKind::Difference, "wait until it is there: see `twinlog lanes`"),
        Refusal::Count(_) => (FailureKind::Usage, "choose another number"),
    }
}
