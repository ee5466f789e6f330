use super::*;

fn all() -> Capabilities {
    Capabilities::default()
        .with_secure(true)
        .with_local(true)
        .with_lanes(5)
}

#[test]
fn every_class_but_bulk_is_refused_by_what_loses_or_reorders() {
    for class in Class::ALL {
        let needs = Needs::of(class);
        assert_eq!(needs.check(&Capabilities::default()), Ok(()));
        for (hop, capability) in [
            (all().with_reliable(false), Capability::Reliable),
            (all().with_ordered(false), Capability::Ordered),
        ] {
            let refused = needs.check(&hop).map_err(|unfit| unfit.capability);
            match class {
                Class::Bulk => assert_eq!(refused, Ok(())),
                _ => assert_eq!(refused, Err(capability), "{class}"),
            }
        }
    }
}

#[test]
fn what_is_asked_beyond_the_class_is_refused_by_name() {
    let bulk = Needs::of(Class::Bulk);
    let cases = [
        (bulk.reliably(), all().with_reliable(false), Capability::Reliable),
        (bulk.securely(), all().with_secure(false), Capability::Secure),
        (bulk.locally(), all().with_local(false), Capability::Local),
        (
            bulk.with_lanes_min(5),
            all().with_lanes(1),
            Capability::Lanes { wanted: 5, has: 1 },
        ),
    ];
    for (needs, hop, capability) in cases {
        assert_eq!(needs.check(&all()), Ok(()));
        let unfit = needs.check(&hop).unwrap_err();
        assert_eq!((unfit.class, unfit.capability), (Class::Bulk, capability));
        assert!(unfit.to_string().contains("class bulk"), "{unfit}");
    }
}
