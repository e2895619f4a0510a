//! Connections that are not plain.

mod certificates;
mod oauth;
mod rights;
mod sasl;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// A certificate for `name` and its key, as PEM.
    fn signs(&self, name: &str) -> (String, String) {
        self.signs_until(name, 2075)
    }

    /// The same of one that is good until this year.
    fn signs_until(&self, name: &str, year: i32) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(1975, 1, 1), date_time_ymd(year, 1, 1));
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// The properties of a listener whose certificate is from here.
    fn listener(&self, host: &str) -> Vec<(String, String)> {
        self.listener_with(self.signs(host))
    }

    /// The same with this certificate.
    fn listener_with(&self, (certificate, key): (String, String)) -> Vec<(String, String)> {
        let properties = [
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.certificate.chain", &certificate),
            ("ssl.keystore.key", &key),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.certificates", &self.0.pem()),
        ];
        properties.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    }
}

/// The YAML of a cluster with these keys beside its addresses.
fn cluster(bootstrap: &[String], keys: &str) -> String {
    format!("{{ bootstrap: {bootstrap:?}, {keys} }}")
}
