use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};

use super::*;

/// Someone with a certificate.
struct Someone {
    params: CertificateParams,
    key: KeyPair,
    der: CertificateDer<'static>,
}

fn params(name: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::new([format!("{name}.example")]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(name.bytes().map(u64::from).sum::<u64>()));
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    params
}

impl Someone {
    fn root(name: &str) -> Self {
        let (params, key) = (params(name, true), KeyPair::generate().expect("a key"));
        let der = params.self_signed(&key).expect("a certificate").der().clone();
        Self { params, key, der }
    }

    fn signs(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let der = params.signed_by(&key, &issuer).expect("a certificate").der().clone();
        Self { params, key, der }
    }

    fn calls_back(&self, serials: &[&Self]) -> CertificateRevocationListDer<'static> {
        let gone = |one: &&Self| RevokedCertParams {
            serial_number: one.params.serial_number.clone().expect("it has one"),
            revocation_time: rcgen::date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2021, 1, 1),
            next_update: rcgen::date_time_ymd(2029, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(gone).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_params(&self.params, &self.key);
        list.signed_by(&issuer).expect("a list").der().clone()
    }
}

fn trust(known: &[&Someone]) -> Trust {
    let certificates = known.iter().filter_map(|one| Known::new(one.der.clone())).collect();
    Trust { certificates, depth: 1, ..Trust::default() }
}

fn at(year: i32) -> UnixTime {
    let moment = rcgen::date_time_ymd(year, 6, 1).unix_timestamp();
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(moment.unsigned_abs()))
}

fn check(trust: &Trust, end: &Someone, above: &[&Someone]) -> Result<(), Flaw> {
    let above: Vec<_> = above.iter().map(|one| one.der.clone()).collect();
    trust.check(&end.der, &above, Purpose::Client, at(2025))
}

#[test]
fn a_chain_is_believed_up_to_one_that_is_known() {
    let root = Someone::root("root");
    let middle = root.signs(params("middle", true));
    let end = middle.signs(params("end", false));
    let known = trust(&[&root]);
    assert_eq!(check(&known, &end, &[&middle]), Ok(()));
    assert_eq!(check(&known, &middle, &[]), Ok(()), "one that may sign, shown by a client");
    assert_eq!(check(&known, &root, &[]), Ok(()), "one that is known itself");
    assert_eq!(check(&known, &end, &[]), Err(Flaw::Alone));
    assert_eq!(check(&trust(&[]), &end, &[&middle]), Err(Flaw::NoIssuer));
    assert_eq!(check(&trust(&[]), &root, &[]), Err(Flaw::SelfSigned));
    assert_eq!(check(&trust(&[]), &end, &[&middle, &root]), Err(Flaw::SelfSignedInChain));
    assert_eq!(check(&Trust { depth: 0, ..trust(&[&root]) }, &end, &[&middle]), Err(Flaw::TooLong));
    assert_eq!(check(&trust(&[&middle]), &end, &[]), Err(Flaw::NoIssuer), "as OpenSSL");
    assert_eq!(check(&trust(&[&middle]).partial(), &end, &[]), Ok(()));
}

#[test]
fn of_many_that_are_known_those_that_a_chain_needs_are_found() {
    let root = Someone::root("root");
    let middle = root.signs(params("middle", true));
    let below = middle.signs(params("below", true));
    let end = below.signs(params("end", false));
    let others: Vec<Someone> = (0..30).map(|n| Someone::root(&format!("other {n}"))).collect();
    // One that has the same name and another key does not hide the right one.
    let namesake = Someone::root("middle");
    let mut known: Vec<&Someone> = others.iter().collect();
    known.splice(9..9, [&below, &namesake, &root, &middle]);
    let known = Trust { depth: 2, ..trust(&known) };
    assert_eq!(check(&known, &end, &[]), Ok(()));
    assert_eq!(check(&known, &others[7], &[]), Ok(()));
    let stranger = Someone::root("stranger").signs(params("end", false));
    assert_eq!(check(&known, &stranger, &[&middle]), Err(Flaw::Alone));
}

#[test]
fn who_is_only_called_so_is_not_believed() {
    let (root, forger) = (Someone::root("root"), Someone::root("root"));
    let end = forger.signs(params("end", false));
    assert_eq!(check(&trust(&[&root]), &end, &[]), Err(Flaw::Signature));
    let leaf = root.signs(params("leaf", false));
    let end = leaf.signs(params("end", false));
    let known = trust(&[&root]);
    assert_eq!(check(&known, &end, &[&leaf]), Err(Flaw::NoAuthority), "a leaf must not sign");
}

#[test]
fn every_certificate_of_a_chain_is_good_for_its_time_only() {
    let root = Someone::root("root");
    let end = root.signs(params("end", false));
    let known = trust(&[&root]);
    for (year, expected) in [(2019, Err(Flaw::NotYet)), (2025, Ok(())), (2031, Err(Flaw::Expired))]
    {
        assert_eq!(known.check(&end.der, &[], Purpose::Client, at(year)), expected, "{year}");
    }
}

#[test]
fn a_certificate_for_servers_is_none_for_clients() {
    let root = Someone::root("root");
    let mut only = params("end", false);
    only.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let end = root.signs(only);
    assert_eq!(check(&trust(&[&root]), &end, &[]), Err(Flaw::Purpose));
}

#[test]
fn an_authority_that_is_bound_to_names_signs_for_no_others() {
    let mut root = Someone::root("root");
    root.params.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("in.example".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    root.der = root.params.self_signed(&root.key).expect("a certificate").der().clone();
    let named = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name = rcgen::DistinguishedName::new();
        root.signs(params)
    };
    let known = trust(&[&root]);
    assert_eq!(check(&known, &named("a.in.example"), &[]), Ok(()));
    assert_eq!(check(&known, &named("a.out.example"), &[]), Err(Flaw::Names));
}

#[test]
fn what_was_called_back_is_not_believed_nor_what_no_list_speaks_of() {
    let root = Someone::root("root");
    let (good, bad) = (root.signs(params("good", false)), root.signs(params("bad", false)));
    let other = Someone::root("other");
    let with =
        |list| Trust { lists: Some(List::new(list).into_iter().collect()), ..trust(&[&root]) };
    let known = with(root.calls_back(&[&bad]));
    assert_eq!(check(&known, &good, &[]), Ok(()));
    assert_eq!(check(&known, &bad, &[]), Err(Flaw::Revoked));
    assert_eq!(check(&with(other.calls_back(&[])), &good, &[]), Err(Flaw::NoCrl));
    let late = known.check(&good.der, &[], Purpose::Client, at(2029));
    assert_eq!(late, Err(Flaw::CrlExpired));
}
