//! Reads a file of the quality of service: TOML, every mistake with its place.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use valkyrie_endpoint::{AdmissionLimits, CriticalRate, DelayTarget, LimitChanges, Limits, Qos, Shares};

use super::{Idempotent, Inner, QosError, QosFault, QosPolicy, ServicePolicy, units};
use crate::Balance;

/// Mistakes that are told. More of them are of no use to anybody.
const FAULTS_MAX: usize = 20;

/// Methods of one service that may be named.
const METHODS_MAX: usize = 256;

/// Bytes of a service's or method's name, as long as one that can be called.
const NAME_BYTES_MAX: usize = 255;

/// The version of the format.
const VERSION: &str = "1";

const TOP_KEYS: &[&str] = &[
    "version",
    "shares",
    "critical",
    "data",
    "link",
    "limits",
    "admission",
    "services",
];
const SHARE_KEYS: &[&str] = &["system", "job", "data", "bulk"];
const CRITICAL_KEYS: &[&str] = &["rate", "burst"];
const DATA_KEYS: &[&str] = &["delay_target"];
const LINK_KEYS: &[&str] = &["capacity"];
const LIMIT_KEYS: &[&str] = &[
    "max_message",
    "max_exchanges",
    "max_streams",
    "reassembly_max",
    "pending_request_bytes_max",
    "queued_answer_bytes_max",
    "send_queue_max",
    "best_effort_queue_max",
];
const ADMISSION_KEYS: &[&str] = &["calls", "system", "job", "data", "bulk"];
const SERVICE_KEYS: &[&str] = &[
    "balance",
    "subset",
    "retries",
    "hedge",
    "idempotent",
    "connection_age",
];
const BALANCES: [(&str, Balance); 4] = [
    ("two-choices", Balance::TwoChoices),
    ("least-in-flight", Balance::LeastInFlight),
    ("weighted", Balance::Weighted),
    ("by-key", Balance::ByKey),
];

/// The name that stands for all services that are not named.
const OTHERS: &str = "*";

type Value<'a> = Spanned<DeValue<'a>>;

pub(super) fn read(text: &str) -> Result<Inner, QosError> {
    let mut reader = Reader {
        text,
        faults: Vec::new(),
    };
    if text.len() > QosPolicy::FILE_BYTES_MAX {
        let message = format!("the file is longer than {} bytes", QosPolicy::FILE_BYTES_MAX);
        reader.fault(0..0, message, None);
        return Err(QosError::new(reader.faults));
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.fault(error.span().unwrap_or(0..0), error.message().to_owned(), None);
    }
    // What could not be read would be missed again as missing keys.
    let read = match reader.faults.is_empty() {
        true => reader.file(table.get_ref()),
        false => Inner::default(),
    };
    match reader.faults.is_empty() {
        true => Ok(read),
        false => Err(QosError::new(reader.faults)),
    }
}

struct Reader<'t> {
    text: &'t str,
    faults: Vec<QosFault>,
}

impl Reader<'_> {
    fn fault(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults
                .push(QosFault::new(self.text, span, message.into(), help));
        }
    }

    fn file(&mut self, table: &DeTable<'_>) -> Inner {
        self.known_keys(table, TOP_KEYS, "a policy of the quality of service");
        match field(table, "version") {
            None => self.fault(
                0..0,
                "the policy does not say its version",
                Some(format!("begin with `version = {VERSION}`")),
            ),
            Some(value) => match value.get_ref().as_integer() {
                Some(number) if number.radix() == 10 && number.as_str() == VERSION => {}
                _ => self.fault(
                    value.span(),
                    format!("this version reads policies of `version = {VERSION}` only"),
                    None,
                ),
            },
        }
        let qos = Qos {
            shares: self
                .table(table, "shares", SHARE_KEYS)
                .and_then(|(table, span)| self.shares(table, span)),
            critical: self
                .table(table, "critical", CRITICAL_KEYS)
                .map(|(table, _)| self.critical(table)),
            data_delay_target: self
                .table(table, "data", DATA_KEYS)
                .and_then(|(table, _)| self.duration(table, "delay_target", DELAY_TARGETS, "25ms"))
                .map(DelayTarget),
            limits: self
                .table(table, "limits", LIMIT_KEYS)
                .map_or_else(LimitChanges::default, |(table, _)| self.limits(table)),
            admission: self
                .table(table, "admission", ADMISSION_KEYS)
                .and_then(|(table, span)| self.admission(table, span)),
            capacity: self
                .table(table, "link", LINK_KEYS)
                .and_then(|(table, _)| self.capacity(table)),
        };
        let (services, others) = self.services(table);
        Inner {
            qos,
            services,
            others,
        }
    }

    /// The shares of the whole, as the ladder has them: of what those above leave.
    fn shares(&mut self, table: &DeTable<'_>, span: Range<usize>) -> Option<Shares> {
        let mut parts = [0; SHARE_KEYS.len()];
        let mut complete = true;
        for (part, key) in parts.iter_mut().zip(SHARE_KEYS) {
            match field(table, key) {
                None => {
                    complete = false;
                    self.fault(
                        span.clone(),
                        format!("[shares] does not say what {key} gets"),
                        Some("it names system, job, data and bulk, which are 100% together".to_owned()),
                    );
                }
                Some(value) => match self.part(value, key, 997) {
                    Some(share) => *part = share,
                    None => complete = false,
                },
            }
        }
        if !complete {
            return None;
        }
        let sum: u16 = parts.iter().sum();
        if sum != 1000 {
            let message = format!("the shares are {}.{}% together, not 100%", sum / 10, sum % 10);
            self.fault(span, message, None);
            return None;
        }
        let [system, job, data, _] = parts;
        // To the nearest thousandth of what is left. Each class has one at least, so that none of these is 0 or all.
        let of_rest = |part: u16, rest: u16| {
            let nearest = (u32::from(part) * 1000 + u32::from(rest) / 2) / u32::from(rest);
            (nearest as u16).clamp(1, 999)
        };
        Some(Shares {
            system,
            job: of_rest(job, 1000 - system),
            data: of_rest(data, 1000 - system - job),
        })
    }

    fn critical(&mut self, table: &DeTable<'_>) -> CriticalRate {
        let default = CriticalRate::default();
        let rate = field(table, "rate").and_then(|value| {
            let bounds = CRITICAL_RATES;
            self.bounded(
                value,
                "rate",
                units::bytes_per_second,
                bounds,
                "1 MiB/s",
                |bound| format!("{}/s", bytes_text(bound)),
            )
        });
        CriticalRate {
            bytes_per_second: rate.map_or(default.bytes_per_second, |rate| rate as u32),
            burst: self
                .bytes(table, "burst", CRITICAL_BURSTS)
                .unwrap_or(default.burst),
        }
    }

    fn capacity(&mut self, table: &DeTable<'_>) -> Option<NonZeroU64> {
        let value = field(table, "capacity")?;
        let (key, example) = ("capacity", "100 Mbit/s");
        let show = |bits: u64| match bits {
            bits if bits >= 1_000_000_000 => format!("{} Gbit/s", bits / 1_000_000_000),
            bits => format!("{} kbit/s", bits / 1000),
        };
        let bits = self.bounded(value, key, units::bits_per_second, CAPACITIES, example, show)?;
        NonZeroU64::new(bits / 8)
    }

    fn limits(&mut self, table: &DeTable<'_>) -> LimitChanges {
        let changes = LimitChanges {
            max_message: self.bytes(table, "max_message", MESSAGES),
            max_exchanges: self
                .count(table, "max_exchanges", 1..=u64::from(u16::MAX))
                .map(|n| n as u16),
            max_streams: self.count(table, "max_streams", STREAMS).map(|n| n as u32),
            reassembly_max: self.bytes(table, "reassembly_max", QUEUES),
            pending_request_bytes_max: self.bytes(table, "pending_request_bytes_max", QUEUES),
            queued_answer_bytes_max: self.bytes(table, "queued_answer_bytes_max", QUEUES),
            send_queue_max: self.bytes(table, "send_queue_max", QUEUES),
            best_effort_queue_max: self.bytes(table, "best_effort_queue_max", QUEUES),
        };
        let largest = changes.max_message.unwrap_or(Limits::default().max_message);
        if let (Some(reassembly), Some(value)) = (changes.reassembly_max, field(table, "reassembly_max"))
            && u64::from(reassembly) < 2 * u64::from(largest)
        {
            let two = bytes_text(2 * u64::from(largest));
            self.fault(
                value.span(),
                "`reassembly_max` is less than two of the largest messages",
                Some(format!("a peer may have two under way, which are {two}")),
            );
        }
        changes
    }

    fn admission(&mut self, table: &DeTable<'_>, span: Range<usize>) -> Option<AdmissionLimits> {
        if field(table, "calls").is_none() {
            self.fault(
                span,
                "[admission] does not say how many calls may be in progress",
                Some("write `calls = 10000`".to_owned()),
            );
            return None;
        }
        let calls = self.count(table, "calls", 1..=1_000_000_000)?;
        let mut limits = AdmissionLimits::new(calls as u32);
        let mut above: (&str, u16) = ("", 1000);
        let parts = [
            ("system", &mut limits.system),
            ("job", &mut limits.job),
            ("data", &mut limits.data),
            ("bulk", &mut limits.bulk),
        ];
        for (key, part) in parts {
            let value = field(table, key);
            if let Some(value) = value {
                *part = self.part(value, key, 1000)?;
            } else {
                // What is not said follows what is said of the class above.
                *part = (*part).min(above.1);
            }
            if *part > above.1 {
                self.fault(
                    value.map_or(0..0, Spanned::span),
                    format!("`{key}` may fill more than `{}`, which is above it", above.0),
                    Some("under overload the lowest class is refused first".to_owned()),
                );
                return None;
            }
            above = (key, *part);
        }
        Some(limits)
    }

    fn services(&mut self, table: &DeTable<'_>) -> (BTreeMap<Box<str>, ServicePolicy>, ServicePolicy) {
        let mut services = BTreeMap::new();
        let mut others = ServicePolicy::default();
        let Some(value) = field(table, "services") else {
            return (services, others);
        };
        let Some(named) = value.get_ref().as_table() else {
            let help = "write `[services.NAME]` for each service".to_owned();
            self.fault(value.span(), "`services` is a table of services", Some(help));
            return (services, others);
        };
        for (key, value) in named {
            let name: &str = key.get_ref();
            let Some(table) = value.get_ref().as_table() else {
                let help = Some(format!("write `[services.{name}]`"));
                self.fault(value.span(), "a service is a table", help);
                continue;
            };
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                let message = format!("the name of a service has 1 to {NAME_BYTES_MAX} bytes");
                self.fault(key.span(), message, None);
            } else if name != OTHERS && name.contains('*') {
                let help = "`*` alone is every service that is not named".to_owned();
                self.fault(key.span(), "the name of a service has no star", Some(help));
            }
            let policy = self.service(table);
            if name == OTHERS {
                others = policy;
            } else {
                services.insert(name.into(), policy);
            }
            if services.len() > QosPolicy::SERVICES_MAX {
                let message = format!("a policy names at most {} services", QosPolicy::SERVICES_MAX);
                self.fault(key.span(), message, None);
                break;
            }
        }
        (services, others)
    }

    fn service(&mut self, table: &DeTable<'_>) -> ServicePolicy {
        self.known_keys(table, SERVICE_KEYS, "a service");
        let default = ServicePolicy::default();
        let retries_max = u64::from(ServicePolicy::RETRIES_MAX);
        let policy = ServicePolicy {
            balance: self.balance(table).unwrap_or(default.balance),
            subset: self
                .count(table, "subset", 2..=u64::from(u16::MAX))
                .map(|n| n as u16),
            retries: self
                .count(table, "retries", 0..=retries_max)
                .map_or(default.retries, |n| n as u8),
            hedge: self.boolean(table, "hedge").unwrap_or(default.hedge),
            idempotent: self.idempotent(table),
            connection_age: self.duration(table, "connection_age", AGES, "10m"),
        };
        if let Some(value) = field(table, "hedge")
            && policy.hedge
            && policy.idempotent == Idempotent::None
        {
            let help = "only what may be done twice is asked for twice: name `idempotent` methods".to_owned();
            self.fault(value.span(), "`hedge` without anything `idempotent`", Some(help));
        }
        policy
    }

    fn balance(&mut self, table: &DeTable<'_>) -> Option<Balance> {
        let value = field(table, "balance")?;
        let names = BALANCES.map(|(name, _)| name);
        let text = value.get_ref().as_str().unwrap_or_default();
        let found = BALANCES.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let message = match value.get_ref().as_str() {
                Some(text) => format!("there is no balance `{text}`"),
                None => "`balance` is a text".to_owned(),
            };
            let help = QosFault::did_you_mean(text, &names)
                .unwrap_or_else(|| format!("it is one of {}", names.join(", ")));
            self.fault(value.span(), message, Some(help));
        }
        found.map(|(_, balance)| *balance)
    }

    fn idempotent(&mut self, table: &DeTable<'_>) -> Idempotent {
        let Some(value) = field(table, "idempotent") else {
            return Idempotent::None;
        };
        match value.get_ref() {
            DeValue::Boolean(true) => return Idempotent::All,
            DeValue::Boolean(false) => return Idempotent::None,
            _ => {}
        }
        let Some(array) = value.get_ref().as_array() else {
            let help = "write `idempotent = [\"get\"]`, or true for every method".to_owned();
            self.fault(
                value.span(),
                "`idempotent` is a list of methods, or true or false",
                Some(help),
            );
            return Idempotent::None;
        };
        if array.len() > METHODS_MAX {
            let message = format!("`idempotent` has more than {METHODS_MAX} entries");
            self.fault(value.span(), message, None);
        }
        let mut methods = Vec::new();
        for item in array.iter().take(METHODS_MAX) {
            match item.get_ref().as_str() {
                Some(name) if !name.is_empty() && name.len() <= NAME_BYTES_MAX => methods.push(name.into()),
                _ => {
                    let message = format!("a method is a text of 1 to {NAME_BYTES_MAX} bytes");
                    self.fault(item.span(), message, None);
                }
            }
        }
        match methods.is_empty() {
            true => Idempotent::None,
            false => Idempotent::Methods(methods.into()),
        }
    }

    // ---- values ------------------------------------------------------------------------------------------------

    /// A part of a whole in thousandths, from 1 to `most`: a text in percent or a number of thousandths.
    fn part(&mut self, value: &Value<'_>, key: &str, most: u16) -> Option<u16> {
        let read = match value.get_ref().as_str() {
            Some(text) => units::percent(text),
            None => integer(value),
        };
        let Some(read) = read else {
            let help = format!("write `{key} = \"62.5%\"`, or thousandths as in `{key} = 625`");
            self.fault(value.span(), format!("`{key}` is no part of a whole"), Some(help));
            return None;
        };
        match u16::try_from(read) {
            Ok(part) if (1..=most).contains(&part) => Some(part),
            _ => {
                let message = format!("`{key}` is not between 0.1% and {}.{}%", most / 10, most % 10);
                self.fault(value.span(), message, None);
                None
            }
        }
    }

    fn bytes(&mut self, table: &DeTable<'_>, key: &str, bounds: RangeInclusive<u64>) -> Option<u32> {
        let value = field(table, key)?;
        self.bounded(value, key, units::bytes, bounds, "256 KiB", bytes_text)
            .map(|bytes| bytes as u32)
    }

    fn duration(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        bounds: RangeInclusive<u64>,
        example: &str,
    ) -> Option<Duration> {
        let value = field(table, key)?;
        let millis = |text: &str| {
            let duration = units::duration(text)?;
            u64::try_from(duration.as_micros().div_ceil(1000)).ok()
        };
        self.bounded(value, key, millis, bounds, example, |ms| {
            format!("{:?}", Duration::from_millis(ms))
        })?;
        value.get_ref().as_str().and_then(units::duration)
    }

    /// A text with a unit, within bounds that are named when it is not.
    fn bounded(
        &mut self,
        value: &Value<'_>,
        key: &str,
        parse: impl Fn(&str) -> Option<u64>,
        bounds: RangeInclusive<u64>,
        example: &str,
        show: impl Fn(u64) -> String,
    ) -> Option<u64> {
        let Some(read) = value.get_ref().as_str().and_then(parse) else {
            let help = format!("write a number and a unit, as in `{key} = \"{example}\"`");
            self.fault(value.span(), format!("`{key}` cannot be read"), Some(help));
            return None;
        };
        if !bounds.contains(&read) {
            let message = format!(
                "`{key}` is not between {} and {}",
                show(*bounds.start()),
                show(*bounds.end())
            );
            self.fault(value.span(), message, None);
            return None;
        }
        Some(read)
    }

    fn count(&mut self, table: &DeTable<'_>, key: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let value = field(table, key)?;
        let read = integer(value).filter(|read| bounds.contains(read));
        if read.is_none() {
            let message = format!(
                "`{key}` is no number between {} and {}",
                bounds.start(),
                bounds.end()
            );
            self.fault(value.span(), message, None);
        }
        read
    }

    fn boolean(&mut self, table: &DeTable<'_>, key: &str) -> Option<bool> {
        let value = field(table, key)?;
        let read = value.get_ref().as_bool();
        if read.is_none() {
            self.fault(value.span(), format!("`{key}` is true or false"), None);
        }
        read
    }

    /// A table of the file with its place, if it is there and is one; what it has that nobody knows is told.
    fn table<'v, 'a>(
        &mut self,
        table: &'v DeTable<'a>,
        key: &str,
        known: &[&str],
    ) -> Option<(&'v DeTable<'a>, Range<usize>)> {
        let value = field(table, key)?;
        let Some(inner) = value.get_ref().as_table() else {
            let help = Some(format!("write `[{key}]`"));
            self.fault(value.span(), format!("`{key}` is a table"), help);
            return None;
        };
        self.known_keys(inner, known, &format!("[{key}]"));
        Some((inner, value.span()))
    }

    fn known_keys(&mut self, table: &DeTable<'_>, known: &[&str], what: &str) {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let help = QosFault::did_you_mean(name, known)
                    .unwrap_or_else(|| format!("it has {}", known.join(", ")));
                self.fault(key.span(), format!("{what} has no `{name}`"), Some(help));
            }
        }
    }
}

fn field<'t, 'a>(table: &'t DeTable<'a>, key: &str) -> Option<&'t Value<'a>> {
    table
        .iter()
        .find(|(name, _)| &**name.get_ref() == key)
        .map(|(_, value)| value)
}

fn integer(value: &Value<'_>) -> Option<u64> {
    let number = value.get_ref().as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn bytes_text(bytes: u64) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

/// Bytes a second of stream 0: less than the least says nothing within a second.
const CRITICAL_RATES: RangeInclusive<u64> = 1 << 10..=1 << 30;

/// Bits a second of a link: less is no link that frames of 16 KiB go over, more is none that there is.
const CAPACITIES: RangeInclusive<u64> = 64_000..=1_000_000_000_000;

/// Bytes of stream 0 at once: one message of the largest, to what nothing of ours could take as urgent.
const CRITICAL_BURSTS: RangeInclusive<u64> = 8 << 10..=64 << 20;

/// Milliseconds of delay at which data yields: below the least a clock and a scheduler are what is measured.
const DELAY_TARGETS: RangeInclusive<u64> = 1..=10_000;

/// Bytes of a message: from the largest frame to the largest that the protocol knows.
const MESSAGES: RangeInclusive<u64> = 1 << 20..=64 << 20;

/// Streams of a peer.
const STREAMS: RangeInclusive<u64> = 1..=1_000_000;

/// Bytes that are kept for one peer or stream: from one small frame to half of what can be counted.
const QUEUES: RangeInclusive<u64> = 4 << 10..=2 << 30;

/// Milliseconds of a connection's age: dialling more often costs more than it balances.
const AGES: RangeInclusive<u64> = 10_000..=30 * 24 * 3_600_000;
