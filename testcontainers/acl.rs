//! What somebody may do.

/// One thing that somebody may do, in the words of Kafka's `AclBinding`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// As `User:twinlog`.
    pub principal: String,
    /// `Topic`, `Group`, `TransactionalId` or `Cluster`.
    pub resource: String,
    /// The resource's name; a cluster's is `kafka-cluster`.
    pub name: String,
    /// `LITERAL` or `PREFIXED`.
    pub pattern: String,
    /// As `Read`, `DescribeConfigs`.
    pub operation: String,
}

impl Acl {
    pub(crate) fn words(&self) -> [(&str, &str); 5] {
        [
            ("principal", &self.principal),
            ("resource", &self.resource),
            ("name", &self.name),
            ("pattern", &self.pattern),
            ("operation", &self.operation),
        ]
    }
}
