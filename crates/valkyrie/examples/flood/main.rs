//! A flood of half-open connections on a real server, while others come in and call: a table of what became of all of them.
//!
//! ```text
//! cargo xtask flood
//! cargo run --release -p valkyrie --example flood -- --seconds 10 --per-s 10000 --only many,one
//! ```
//!
//! Server, attacker and good clients are a process each, or two: a server with everything as it is by default, an attacker that
//! opens so many connections a second and goes no further than its key would be asked for, and those who are welcome. They have a
//! network of their own with 131,072 addresses, in which no rule for this very machine makes an exception. It needs root, `ip`
//! and Linux.

#[cfg(target_os = "linux")]
mod attack;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod people;
#[cfg(target_os = "linux")]
mod roles;
#[cfg(target_os = "linux")]
mod table;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words = arguments.iter().map(String::as_str);
    match words.next() {
        Some("server") => roles::serve(words),
        Some("attacker") => roles::attack(words),
        Some("inside") => {
            let options = Options::read(words)?;
            measure::all(&options)
        }
        _ => {
            // Mistakes are told before anything is set up.
            Options::read(arguments.iter().map(String::as_str))?;
            roles::inside(&arguments)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Err("network namespaces are Linux's".into())
}

#[cfg(target_os = "linux")]
struct Options {
    seconds: u32,
    per_s: u32,
    only: Option<Vec<String>>,
}

#[cfg(target_os = "linux")]
impl Options {
    fn read<'a>(mut arguments: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut options = Self {
            seconds: 10,
            per_s: 10_000,
            only: None,
        };
        let number = |value: &str| match value.parse() {
            Ok(number @ 1..) => Ok(number),
            _ => Err(format!("{value} is no number above 0")),
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            match name {
                "--seconds" => options.seconds = number(value)?,
                "--per-s" => options.per_s = number(value)?,
                "--only" => {
                    let names: Vec<_> = value.split(',').map(str::to_owned).collect();
                    let known = |name: &String| measure::SIEGES.iter().any(|siege| siege.name == name);
                    if let Some(name) = names.iter().find(|name| !known(name)) {
                        return Err(format!("there is no flood {name}"));
                    }
                    options.only = Some(names);
                }
                _ => {
                    return Err(format!(
                        "there is no option {name}; there are --seconds, --per-s and --only"
                    ));
                }
            }
        }
        Ok(options)
    }
}
