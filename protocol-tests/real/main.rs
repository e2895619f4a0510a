//! twinlog between real Apache Kafka clusters: what the README promises, with Kafka's own clients as judges.

mod pair;
mod tutorial;
