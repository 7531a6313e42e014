//! Issuing: what is taken from a request, and every refusal.

use super::*;
use crate::identity::NodeCertificate;

const NOW: Wall = Wall(1_760_000_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

#[test]
fn a_certificate_names_the_node_and_not_what_the_request_says() {
    let ca = Authority::create(NOW).unwrap();
    let key = NodeKey::generate().unwrap();
    let request = key.request("somebody-else").unwrap();
    let der = ca.issue(&request, &id("relay-1"), NOW, DAY).unwrap();
    let certificate = NodeCertificate::parse(&der).unwrap();
    assert_eq!(certificate.id, id("relay-1"));
    assert_eq!(certificate.key, key.hash());
    assert_eq!(certificate.key, request_key(&request).unwrap());
    assert!(!certificate.root);
    assert_eq!(certificate.not_after, Wall(NOW.0 + 86_400_000_000));
    assert_eq!(certificate.not_before, Wall(NOW.0 - 300_000_000));
    // A short-lived one does not begin so early that it is old at once.
    let der = ca.issue(&request, &id("relay-1"), NOW, Duration::from_secs(6)).unwrap();
    let certificate = NodeCertificate::parse(&der).unwrap();
    assert_eq!(certificate.not_after, Wall(NOW.0 + 6_000_000));
    assert_eq!(certificate.not_before, Wall(NOW.0 - 6_000_000));
}

#[test]
fn the_roots_certificate_is_marked() {
    let ca = Authority::create(NOW).unwrap();
    let key = NodeKey::generate().unwrap();
    let der = ca.issue_root(&key, &id("root"), NOW, DAY).unwrap();
    let certificate = NodeCertificate::parse(&der).unwrap();
    assert!(certificate.root);
    assert_eq!(certificate.id, id("root"));
}

#[test]
fn an_ed25519_key_is_taken_too() {
    let ca = Authority::create(NOW).unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let request = CertificateParams::default().serialize_request(&pair).unwrap();
    let der = ca.issue(request.der(), &id("leaf"), NOW, DAY).unwrap();
    let expected = sha256(&pair.subject_public_key_info());
    assert_eq!(NodeCertificate::parse(&der).unwrap().key, expected);
}

#[test]
fn a_stored_ca_issues_as_before() {
    let ca = Authority::create(NOW).unwrap();
    let again = Authority::load(ca.certificate(), &ca.key_pkcs8()).unwrap();
    assert_eq!(again.fingerprint(), ca.fingerprint());
    assert!(ca.fingerprint().matches(again.certificate()));
    let other = Authority::create(NOW).unwrap();
    assert_ne!(other.fingerprint(), ca.fingerprint());
    assert!(Authority::load(ca.certificate(), &other.key_pkcs8()).is_err());
    assert!(Authority::load(b"garbage", &ca.key_pkcs8()).is_err());
}

#[test]
fn requests_that_are_refused() {
    let ca = Authority::create(NOW).unwrap();
    let key = NodeKey::generate().unwrap();
    let good = key.request("n").unwrap();
    let refused = |request: &[u8]| ca.issue(request, &id("n"), NOW, DAY).unwrap_err().to_string();
    assert!(refused(b"").contains("cannot be read"));
    assert!(refused(&vec![0x30; MAX_REQUEST + 1]).contains("too long"));
    let mut longer = good.clone();
    longer.push(0);
    assert!(refused(&longer).contains("bytes follow"));
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    assert!(refused(&bad).contains("signature"), "{}", refused(&bad));
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let request = CertificateParams::default().serialize_request(&p384).unwrap();
    assert!(refused(request.der()).contains("neither P-256 nor Ed25519"));
}

/// Every byte of a request, changed in every bit: it is refused, or it is the same request. What
/// changes nothing is the wrapping around what is signed; how many such bits there are depends on the
/// lengths of the signature's two integers.
#[test]
fn a_changed_request_is_refused_or_says_the_same() {
    let ca = Authority::create(NOW).unwrap();
    for _ in 0..8 {
        let key = NodeKey::generate().unwrap();
        let good = key.request("n").unwrap();
        let (_, parsed) = X509CertificationRequest::from_der(&good).unwrap();
        let info = parsed.certification_request_info.raw;
        let start = good.windows(info.len()).position(|w| w == info).unwrap();
        let signed = start..start + info.len();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[at] ^= 1 << bit;
                let Ok(taken) = RequestedKey::from_request(&changed) else { continue };
                assert!(!signed.contains(&at), "byte {at} is signed, and was changed");
                assert_eq!(taken.subject_public_key_info(), key.pair().subject_public_key_info());
                assert_eq!(request_key(&changed).unwrap(), key.hash());
                // Nothing else of it is used: the certificate says the same.
                let der = ca.issue(&changed, &id("n"), NOW, DAY).unwrap();
                let expected = ca.issue(&good, &id("n"), NOW, DAY).unwrap();
                let read = |der: &[u8]| NodeCertificate::parse(der).unwrap();
                assert_eq!(read(&der), read(&expected));
            }
        }
    }
}

#[test]
fn a_certificate_that_is_not_ours_is_not_read_as_one() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let plain = CertificateParams::new(vec!["host.example".into()]).unwrap();
    let der = plain.self_signed(&pair).unwrap();
    assert!(NodeCertificate::parse(der.der()).is_err());
    assert!(NodeCertificate::parse(b"").is_err());
    assert!(NodeCertificate::parse(&vec![0x30; 5000]).is_err());
}
