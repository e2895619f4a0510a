//! What the verbs ask of the links. The verbs know how an answer looks, this module knows where it comes from.

mod attempt;
mod connect;
mod links;
mod run;

use std::time::Duration;

use twinlog_core::config::{ClusterConfig, Config, LinkConfig, LinkName};
use twinlog_core::report::{
    Check, CheckReport, Failure, LanesChange, ResolveReport, TranslateAnswer, Verdict, VerifyProgress, VerifyReport,
};
use twinlog_core::topics::Pattern;
use twinlog_link::check::Addresses;
use twinlog_link::environment::Environment;
use twinlog_link::groups::look::Positions;
pub(crate) use twinlog_link::lanes::Change;
use twinlog_link::status::Seen;
use twinlog_link::supervisor::LinkSetup;
pub(crate) use twinlog_link::translate::Question;
use twinlog_link::{lanes, resolve};

pub(crate) use self::run::{NewConfig, Orders, explain, run};

/// A link with everything that the configuration says about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamedLink<'a> {
    pub(crate) name: &'a LinkName,
    pub(crate) link: &'a LinkConfig,
    pub(crate) source: &'a ClusterConfig,
    pub(crate) target: &'a ClusterConfig,
}

impl<'a> NamedLink<'a> {
    /// A checked configuration holds both clusters of each of its links.
    pub(crate) fn find(config: &'a Config, name: &str) -> Option<Self> {
        let (name, link) = config.links.get_key_value(name)?;
        let source = config.clusters.get(&link.source)?;
        let target = config.clusters.get(&link.target)?;
        Some(Self { name, link, source, target })
    }
}

impl NamedLink<'_> {
    /// The link as the link crate takes it. Nothing is dialled yet; certificate files are read.
    pub(crate) fn setup(self) -> Result<LinkSetup, Failure> {
        let (source, target) = connect::clusters(self)?;
        Ok(LinkSetup {
            name: self.name.as_str().to_owned(),
            config: self.link.clone(),
            source,
            target,
            environment: Environment::default(),
        })
    }
}

/// Looks at both clusters of a link, and at the `siblings` of its configuration for mirrors in common, and changes
/// nothing. A cluster out of reach is a failed check.
pub(crate) async fn check(link: NamedLink<'_>, siblings: &[NamedLink<'_>]) -> CheckReport {
    let addresses = Addresses { source: connect::addresses(link.source), target: connect::addresses(link.target) };
    // One that cannot begin takes no mirror.
    let siblings: Vec<_> = siblings.iter().filter_map(|sibling| sibling.setup().ok()).collect();
    match link.setup() {
        Ok(setup) => twinlog_link::check::check(&setup, &addresses, &siblings).await,
        Err(failure) => {
            let unusable = Check {
                side: None,
                subject: "configuration".to_owned(),
                verdict: Verdict::Failed,
                finding: failure.what,
                what_to_do: Some("correct the file that it names; the clusters were not asked".to_owned()),
            };
            CheckReport { link: link.name.to_string(), checks: vec![unusable] }
        }
    }
}

/// Where each partition of a link stands, from the clusters alone: no `run` need be up.
pub(crate) async fn status(link: NamedLink<'_>) -> Result<Seen, Failure> {
    twinlog_link::status::status(&link.setup()?).await
}

/// Translates an offset by the link's map on the target; the source need not be there.
pub(crate) async fn translate(link: NamedLink<'_>, question: &Question) -> Result<TranslateAnswer, Failure> {
    twinlog_link::translate::translate(&link.setup()?, question).await
}

/// Compares what the two sides hold, for source topics that one of `topics` matches, or for all if there is none.
pub(crate) async fn verify(
    link: NamedLink<'_>,
    topics: &[Pattern],
    progress: &(dyn Fn(VerifyProgress) + Send + Sync),
) -> Result<VerifyReport, Failure> {
    twinlog_link::verify::verify(&link.setup()?, topics, progress).await
}

/// The lanes of a link, from the target alone.
pub(crate) async fn lanes(link: NamedLink<'_>) -> Result<lanes::Seen, Failure> {
    lanes::lanes(&link.setup()?).await
}

/// Where each group of a link stands, for these groups or for all.
pub(crate) async fn groups(link: NamedLink<'_>, groups: &[String]) -> Result<Positions, Failure> {
    twinlog_link::groups::look::positions(&link.setup()?, groups).await
}

/// Has the positions of a group brought again that was taken over on the target.
pub(crate) async fn bring_group_again(link: NamedLink<'_>, group: &str) -> Result<(), Failure> {
    twinlog_link::groups::look::bring_again(&link.setup()?, group).await
}

/// A decision about partitions that stopped which is not written yet; [`ResolvePlan::carry_out`] writes it.
pub(crate) struct ResolvePlan {
    setup: LinkSetup,
    planned: resolve::Planned,
}

/// What a decision would do; nothing is written.
pub(crate) async fn plan_resolve(link: NamedLink<'_>, wish: &resolve::Wish) -> Result<ResolvePlan, Failure> {
    let setup = link.setup()?;
    let planned = resolve::plan(&setup, wish).await?;
    Ok(ResolvePlan { setup, planned })
}

impl ResolvePlan {
    /// What it comes to.
    pub(crate) fn report(&self) -> &ResolveReport {
        &self.planned.report
    }

    /// Writes it, and waits for so long at the most until it is carried out.
    pub(crate) async fn carry_out(self, wait: Duration) -> Result<resolve::Waited, Failure> {
        self.planned.carry_out(&self.setup, wait).await
    }
}

/// A change of a link's lanes that is planned; [`LanesPlan::carry_out`] does it.
pub(crate) struct LanesPlan {
    setup: LinkSetup,
    planned: lanes::Planned,
}

/// What a change of a link's lanes would do; nothing is written.
pub(crate) async fn plan_lanes(link: NamedLink<'_>, change: &Change) -> Result<LanesPlan, Failure> {
    let setup = link.setup()?;
    let planned = lanes::plan(&setup, change).await?;
    Ok(LanesPlan { setup, planned })
}

impl LanesPlan {
    /// What it comes to.
    pub(crate) fn change(&self) -> &LanesChange {
        &self.planned.change
    }

    /// Does it, and waits for so long at the most until it is over. `progress` hears how many partitions are on their
    /// way.
    pub(crate) async fn carry_out(
        self,
        wait: Duration,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<lanes::Waited, Failure> {
        self.planned.carry_out(&self.setup, wait, progress).await
    }
}
