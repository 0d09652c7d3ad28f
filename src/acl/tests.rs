//! The judgement of lists, by the tables of docs/observed.md §9.

use super::*;

fn entry<'a>(perms: i32, scheme: Option<&'a str>, id: Option<&'a str>) -> RequestAcl<'a> {
    RequestAcl { perms, scheme: scheme.map(Cow::Borrowed), id: id.map(Cow::Borrowed) }
}

fn stored(perms: i32, scheme: &str, id: &str) -> Acl {
    Acl { perms, id: Id::new(scheme, id) }
}

fn fix(list: &[RequestAcl<'_>], ids: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
    fixup(Some(list), ids, &AclConfig::default())
}

#[test]
fn lists_that_are_refused() {
    let ip = [ip_id("127.0.0.1".parse().unwrap())];
    let invalid = Err(ErrorCode::INVALID_ACL);
    assert_eq!(fixup(None, &ip, &AclConfig::default()), invalid);
    assert_eq!(fix(&[], &ip), invalid);
    let refused = [
        (None, Some("anyone")),
        (Some("world"), Some("someone")),
        (Some("auth"), Some("")),
        (Some("auth"), None),
        (Some("digest"), Some("abc")),
        (Some("digest"), Some("a:b:c")),
        (Some("digest"), Some("")),
        (Some("digest"), Some(":")),
        (Some("digest"), Some("u:")),
        (Some("ip"), Some("abc")),
        (Some("ip"), Some("1.2.3.4/33")),
        (Some("super"), Some("")),
        (Some("sasl"), Some("u")),
        (Some("x509"), Some("u")),
        (Some("ensemble"), Some("u")),
        (Some("DIGEST"), Some("u:p")),
        (Some("sasl"), None),
    ];
    for (scheme, id) in refused {
        assert_eq!(fix(&[entry(31, scheme, id)], &ip), invalid, "{scheme:?} {id:?}");
    }
    for scheme in ["world", "digest", "ip"] {
        assert_eq!(
            fix(&[entry(31, Some(scheme), None)], &ip),
            Err(ErrorCode::MARSHALLING_ERROR),
            "{scheme}"
        );
    }
}

#[test]
fn lists_that_are_taken_as_they_are() {
    for (scheme, id) in [
        ("world", "anyone"),
        ("digest", "u:p"),
        ("digest", ":p"),
        ("digest", "u:p:"),
        ("ip", "::/64"),
    ] {
        for perms in [0, 31, 64, -1] {
            let list = fix(&[entry(perms, Some(scheme), Some(id))], &[]);
            assert_eq!(list, Ok(vec![stored(perms, scheme, id)]));
        }
    }
}

#[test]
fn auth_expands_in_place_and_duplicates_go_before_it_does() {
    let ids = [
        Id::new("ip", "127.0.0.1"),
        Id::new("super", ""),
        Id::new("digest", "a:x"),
        Id::new("digest", "b:y"),
    ];
    let world = entry(1, Some("world"), Some("anyone"));
    let own = entry(31, Some("digest"), Some("a:x"));
    let list = [world.clone(), entry(31, Some("auth"), Some("ignored")), own, world];
    let expected = vec![
        stored(1, "world", "anyone"),
        stored(31, "digest", "a:x"),
        stored(31, "digest", "b:y"),
        stored(31, "digest", "a:x"),
    ];
    assert_eq!(fix(&list, &ids), Ok(expected));
}

#[test]
fn who_may() {
    let config = AclConfig::default();
    let (u, v) = (Id::new("digest", "u:x"), Id::new("digest", "v:x"));
    let list = [stored(perms::READ, "digest", "u:x"), stored(perms::WRITE, "ip", "10.0.0.0/8")];
    assert!(config.permits(&[], perms::ADMIN, &[]));
    assert!(config.permits(&list, perms::READ, std::slice::from_ref(&u)));
    assert!(!config.permits(&list, perms::WRITE, std::slice::from_ref(&u)));
    assert!(!config.permits(&list, perms::READ, &[v]));
    assert!(config.permits(&list, perms::READ | perms::ADMIN, std::slice::from_ref(&u)));
    assert!(config.permits(&list, perms::WRITE, &[Id::new("ip", "10.9.9.9")]));
    assert!(!config.permits(&list, perms::WRITE, &[Id::new("ip", "11.9.9.9")]));
    assert!(config.permits(&list, perms::ADMIN, &[Id::new("super", "")]));
    assert!(AclConfig { skip: true, ..config.clone() }.permits(&list, perms::ADMIN, &[]));
    assert!(!AclConfig { digest: false, ..config }.permits(&list, perms::READ, &[u]));
    // Bits of other permissions do not help, nor does another id of scheme world.
    let permits = |list: &[Acl], perm, ids: &[Id]| AclConfig::default().permits(list, perm, ids);
    assert!(!permits(&[stored(perms::READ, "world", "anyone")], perms::WRITE, &[]));
    assert!(!permits(
        &[stored(perms::ALL, "world", "nobody")],
        perms::READ,
        &[Id::new("world", "nobody")]
    ));
}

#[test]
fn get_acl_masks_without_admin() {
    let config = AclConfig::default();
    let u = Id::new("digest", "u:hash");
    let read = [stored(perms::READ, "digest", "u:hash"), stored(perms::READ, "world", "anyone")];
    assert_eq!(&*shown(&read, std::slice::from_ref(&u), &config).unwrap()[0].id.id, "u:x");
    let admin = [stored(perms::ADMIN, "digest", "u:hash")];
    assert_eq!(shown(&admin, &[u], &config), Some(admin.to_vec()));
    assert_eq!(shown(&admin, &[], &config), None);
}

#[test]
fn adding_ids() {
    let root = digest_id(b"root:secret").id;
    let config =
        AclConfig { super_digest: Some(Secret::new(root.clone())), ..AclConfig::default() };
    let proven = config.authenticate(Some("digest"), Some(b"root:secret")).unwrap();
    assert_eq!(proven, [Id::new("super", ""), Id::new("digest", &root)]);
    assert_eq!(config.authenticate(Some("digest"), Some(b"")).unwrap().len(), 1);
    assert_eq!(config.authenticate(Some("ip"), None), Ok(vec![]));
    for scheme in [
        None,
        Some(""),
        Some("world"),
        Some("auth"),
        Some("super"),
        Some("x509"),
        Some("sasl"),
        Some("DIGEST"),
    ] {
        assert_eq!(
            config.authenticate(scheme, Some(b"a:b")),
            Err(ErrorCode::AUTH_FAILED),
            "{scheme:?}"
        );
    }
    assert_eq!(config.authenticate(Some("digest"), None), Err(ErrorCode::AUTH_FAILED));
    // Bytes that are no UTF-8 are hashed and stored as Java decodes them.
    assert_eq!(
        &config.authenticate(Some("digest"), Some(b"\xff:b")).unwrap()[0].id[..4],
        "\u{fffd}:"
    );
}

/// Proving n of m ids takes time that grows with their sum, not their product: this test takes
/// minutes where each entry of the list is compared to each id.
#[test]
fn a_long_list_and_many_ids_are_not_compared_pair_by_pair() {
    let id =
        |nth: usize| Id::new("digest", &format!("a-user-with-a-long-common-name-{nth:08}:hash"));
    let list: Vec<_> = (0..200_000).map(|nth| Acl { perms: perms::READ, id: id(nth) }).collect();
    let ids: Vec<_> = (200_000..300_000).chain([199_999]).map(id).collect();
    let config = AclConfig::default();
    assert!(config.permits(&list, perms::READ, &ids));
    assert!(!config.permits(&list[..199_999], perms::READ, &ids));
}

/// Of entries that say the same the first one stays, in its place, however many there are.
#[test]
fn repeated_entries_go_and_the_others_keep_their_order() {
    let ids: Vec<String> = (0..10_000).map(|nth| format!("u{}:h", nth * 7919 % 6_000)).collect();
    let list: Vec<_> = ids.iter().map(|id| entry(31, Some("digest"), Some(id))).collect();
    let mut seen = std::collections::BTreeSet::new();
    let firsts = ids.iter().filter(|id| seen.insert(*id));
    let expected: Vec<_> = firsts.map(|id| stored(31, "digest", id)).collect();
    assert_eq!(expected.len(), 6_000);
    assert_eq!(fix(&list, &[]), Ok(expected));
}

/// However many ids there are, the verdict is the same.
#[test]
fn few_and_many_ids_are_judged_alike() {
    let list =
        [stored(1, "digest", "u:h"), stored(1, "ip", "10.0.0.0/8"), stored(1, "digest", "ip:h")];
    for many in [0, 1, 7, 8, 9, 100] {
        let filler = (0..many).map(|nth| Id::new("digest", &format!("filler{nth}:h")));
        for (id, expected) in [
            (Id::new("digest", "u:h"), true),
            (Id::new("ip", "10.1.2.3"), true),
            (Id::new("ip", "11.1.2.3"), false),
            (Id::new("ip", "u:h"), false),
            (Id::new("digest", "10.1.2.3"), false),
        ] {
            let ids: Vec<_> = filler.clone().chain([id]).collect();
            assert_eq!(AclConfig::default().permits(&list, perms::READ, &ids), expected, "{ids:?}");
        }
    }
}
