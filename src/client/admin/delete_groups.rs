//! DeleteGroups, one at a time.

use kafka_protocol::messages::{DeleteGroupsRequest, GroupId};

use super::{check, str_bytes};
use crate::cluster::{Cluster, Purpose};
use crate::error::{Cause, Outcome, Result, Step};

impl Cluster {
    /// Deletes a group that has no members.
    pub async fn delete_group(&self, group: &str) -> Result<()> {
        let answer = async {
            let connection = self.group_coordinator(group, Purpose::Admin).await?;
            let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(str_bytes(group))]);
            let answer = connection.call(request).await?;
            let found = answer.results.iter().find(|result| result.group_id.as_str() == group).ok_or_else(|| {
                let cause = Cause::Missing(group.to_owned());
                connection.error(Step::of::<DeleteGroupsRequest>(), Outcome::Unknown, cause)
            })?;
            check::<DeleteGroupsRequest>(&connection, found.error_code, Some(&group), None)
        };
        self.note_group_coordinator(group, answer.await)
    }
}
