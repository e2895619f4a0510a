//! Whether links can begin by a configuration that has changed: what would end a link at its start is found out while
//! the one before still runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use twinlog_client::{Cluster, Metadata};
use twinlog_core::config::{Config, LinkName};
use twinlog_core::reload::{Fate, Refused};
use twinlog_core::report::{Failure, FailureKind};
use twinlog_link::same_cluster::refuse_same_cluster;
use twinlog_link::supervisor::LinkSetup;

use super::NamedLink;
use super::links::Links;

/// How long a cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Links that are to begin, and what of them is refused before anybody is asked.
pub(super) struct Attempt {
    links: Vec<Fresh>,
    refused: Vec<Refused>,
}

struct Fresh {
    name: LinkName,
    setup: LinkSetup,
    /// How it was begun before.
    before: Option<LinkSetup>,
}

impl Attempt {
    /// Of those of `fates` that begin or begin again. Nothing is dialled yet; certificate files are read.
    pub(super) fn new(links: &Links, config: &Config, fates: &BTreeMap<LinkName, Fate>) -> Self {
        let mut attempt = Self { links: Vec::new(), refused: Vec::new() };
        for (name, _) in fates.iter().filter(|(_, fate)| matches!(fate, Fate::Begins | Fate::BeginsAgain)) {
            match setup(config, name) {
                Ok(setup) => {
                    attempt.links.push(Fresh { name: name.clone(), setup, before: links.begun(name).cloned() });
                }
                Err(failure) => attempt.refused.push(Refused { key: link_key(name), why: failure.what }),
            }
        }
        attempt
    }

    /// Asks each cluster: it must answer, and be the one that it was. What is there afterwards can begin.
    pub(super) async fn made(self) -> Result<BTreeMap<LinkName, LinkSetup>, Vec<Refused>> {
        let mut refused = self.refused;
        let mut made = BTreeMap::new();
        for Fresh { name, setup, before } in self.links {
            let known = |cluster: fn(&LinkSetup) -> &Cluster| before.as_ref().and_then(|link| cluster(link).known());
            let (source, target) = tokio::join!(
                ask(&setup.config.source, &setup.source, known(|link| &link.source)),
                ask(&setup.config.target, &setup.target, known(|link| &link.target)),
            );
            match (source, target) {
                (Ok(source), Ok(target)) => match refuse_same_cluster(&source, &target) {
                    Ok(_) => drop(made.insert(name, setup)),
                    Err(error) => refused.push(Refused { key: link_key(&name), why: error.to_string() }),
                },
                (source, target) => refused.extend(source.err().into_iter().chain(target.err())),
            }
        }
        // Several links may have a cluster in common.
        refused.sort();
        refused.dedup();
        if refused.is_empty() { Ok(made) } else { Err(refused) }
    }
}

/// A link of a configuration as the link crate takes it.
fn setup(config: &Config, name: &LinkName) -> Result<LinkSetup, Failure> {
    match NamedLink::find(config, name.as_str()) {
        Some(link) => link.setup(),
        None => Err(Failure::new(FailureKind::Usage, format!("there is no link `{name}`"))),
    }
}

fn link_key(name: &LinkName) -> Vec<String> {
    vec!["links".to_owned(), name.to_string()]
}

/// Asks a cluster of that name who it is; it must be the one that is known from before.
async fn ask(name: &str, cluster: &Cluster, before: Option<Arc<Metadata>>) -> Result<Arc<Metadata>, Refused> {
    let refused = |why| Refused { key: vec!["clusters".to_owned(), name.to_owned()], why };
    let found = cluster.retry(Instant::now() + PATIENCE, || cluster.refresh()).await;
    let found = found.map_err(|error| refused(error.to_string()))?;
    match before {
        Some(before) if before.cluster_id != found.cluster_id => {
            let id = |of: &Metadata| of.cluster_id.clone().unwrap_or_else(|| "without an id".to_owned());
            let (is, was) = (id(&found), id(&before));
            Err(refused(format!("this is another cluster, {is}; that of a link that runs stays {was}")))
        }
        _ => Ok(found),
    }
}
