//! Who this side is and whom it trusts, as every command that dials or serves has it.
//!
//! The identity comes from a directory and is made there on first use. An unknown peer within this machine is trusted and
//! remembered; about any other the person at the terminal is asked, and where there is none the command fails and says what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use valkyrie::security::identity::{BuildError, Fingerprint, SigningKey};
use valkyrie::security::trust::{FirstUse, KnownPeer, UnknownPeer};
use valkyrie::security::{Identity, Live, Security, UnixTime};
use valkyrie_keystore::{Changes, Home, Keystore, KeystoreError, Made, NewIdentity, Passphrase};
use valkyrie_rustci::command::{IdentityArgs, MeetArgs};
use valkyrie_spiffe::Workload;

use crate::ask;
use crate::exit::{CliError, Exit};
use crate::out::Notes;
use crate::picture;
use crate::spiffe::{AgentNews, SpiffeArgs};
use crate::token;

/// An identity in use, with its files.
#[derive(Clone)]
pub(crate) struct Access {
    keystore: Arc<Keystore>,
    workload: Option<Arc<Workload>>,
    notes: Notes,
}

/// What time it is.
pub(crate) fn now() -> UnixTime {
    SystemTime::now().into()
}

/// The directory that the arguments name.
pub(crate) fn directory(args: &IdentityArgs) -> Result<PathBuf, CliError> {
    match &args.identity {
        Some(path) => Ok(path.clone()),
        None => Ok(Home::default_path()?),
    }
}

/// How peers are met that are dialled for the first time: within this machine they are trusted; about others somebody at the
/// terminal is asked, if there is somebody.
pub(crate) fn first_use(notes: Notes) -> FirstUse {
    match ask::terminal() {
        Some(_) if notes.may_ask() => FirstUse::Ask,
        _ => FirstUse::Local,
    }
}

/// Asks for the passphrase of an encrypted key: reads the file that was named, or asks at the terminal.
pub(crate) fn unlock(
    args: &IdentityArgs,
) -> impl FnMut(&Path) -> Result<Option<Passphrase>, KeystoreError> + '_ {
    |key| {
        if let Some(file) = &args.passphrase_file {
            return Passphrase::from_file(file).map(Some);
        }
        let Some(mut terminal) = ask::terminal() else {
            return Ok(None);
        };
        let question = format!("passphrase of {}: ", key.display());
        match ask::hidden(&mut terminal, &question) {
            Ok(answer) => Passphrase::new(answer).map(Some),
            Err(_) => Ok(None),
        }
    }
}

impl Access {
    /// Opens the identity, or makes one. Peers that are met for the first time are trusted as `rule` says.
    pub(crate) fn open(args: &IdentityArgs, rule: FirstUse, notes: Notes) -> Result<Self, CliError> {
        let directory = directory(args)?;
        let plan = NewIdentity::of_this_machine();
        let (keystore, made) = Keystore::open_or_make(&directory, &plan, now(), &mut unlock(args))?;
        if made == Made::New {
            notes.remark(format_args!(
                "made an identity, {} ({}), in {}",
                keystore.document().name(),
                keystore.document().fingerprint(),
                directory.display()
            ));
        }
        keystore.set_first_use(rule);
        let access = Self {
            keystore: Arc::new(keystore),
            workload: None,
            notes,
        };
        if let Some(why) = access.not_of_this_time() {
            notes.warning(why);
        }
        Ok(access)
    }

    /// Why no peer can take the identity in the files at this time, if none can.
    pub(crate) fn not_of_this_time(&self) -> Option<String> {
        let (document, now) = (self.keystore.document(), now());
        let directory = self.keystore.home().path().display();
        if now < document.not_before() {
            return Some(format!(
                "the identity in {directory} is not good before {}, and peers do not take it until then; this clock, or the one of whoever \
                 signed it, may be wrong",
                document.not_before()
            ));
        }
        (now >= document.not_after()).then(|| {
            format!(
                "the identity in {directory} was good until {}, and peers do not take it any more; have it signed anew: `valkyrie keys \
                 export --request`, `valkyrie keys sign` beside the authority, `valkyrie keys import`",
                document.not_after()
            )
        })
    }

    /// With the identity that a SPIFFE agent gives, if that is asked for. Within a runtime.
    pub(crate) async fn joined(mut self, args: &SpiffeArgs) -> Result<Self, CliError> {
        self.workload = args.workload(self.keystore.trust()).await?;
        Ok(self)
    }

    /// What the agent says from now on, where there is one.
    pub(crate) fn agent_news(&self) -> Option<AgentNews> {
        self.workload.clone().map(AgentNews::of)
    }

    /// The files.
    pub(crate) fn keystore(&self) -> &Keystore {
        &self.keystore
    }

    /// The key that the identity in the files signs with.
    pub(crate) fn signing_key(&self) -> Result<Arc<SigningKey>, CliError> {
        let identity = self.keystore.identity().load();
        let local = |why: &str| CliError::new(Exit::Local, why.to_owned());
        let key = identity
            .signing_key()
            .ok_or_else(|| local("this identity has no key to sign with"))?;
        let copy = SigningKey::from_seeds(key.ed25519_seed(), key.ml_dsa_65_seed().map(|seed| &**seed));
        copy.map(Arc::new).map_err(|error| local(&error.to_string()))
    }

    /// Identity and trust as an endpoint takes them.
    pub(crate) fn security(&self) -> Security {
        let identity = match &self.workload {
            Some(workload) => workload.identity(),
            None => self.keystore.identity(),
        };
        Security::new(identity.clone(), self.keystore.trust().clone())
    }

    /// The same for one that dials: with a token it shows no identity, unless one was named.
    pub(crate) fn dialling(&self, args: &MeetArgs) -> Result<Security, CliError> {
        let Some(file) = &args.token else {
            return Ok(self.security());
        };
        let token = token::load(file)?;
        let named = args.identity.identity.is_some() || self.workload.is_some();
        let security = if named {
            self.security()
        } else {
            let nobody =
                Identity::anonymous().map_err(|error| CliError::new(Exit::Local, error.to_string()))?;
            Security::new(Live::new(nobody), self.keystore.trust().clone())
        };
        Ok(security.with_token(token))
    }

    /// What is to be done with a peer that was trusted on first use.
    pub(crate) fn on_first_use(&self) -> impl Fn(&KnownPeer) + Send + Sync + 'static {
        let (keystore, notes) = (Arc::clone(&self.keystore), self.notes);
        move |peer| remember(&keystore, peer, notes)
    }

    /// Asks whether to trust a peer, and remembers it if so.
    pub(crate) async fn decide(&self, unknown: UnknownPeer) -> Result<(), CliError> {
        let (answered, answer) = tokio::sync::oneshot::channel();
        let question = question(&unknown);
        // A thread of its own, since a blocked read cannot be given up when Ctrl-C ends the command.
        let spawned = std::thread::Builder::new()
            .name("question".to_owned())
            .spawn(move || {
                let _ = answered.send(asked(&question));
            });
        drop(spawned);
        let fingerprint = unknown.fingerprint();
        match answer.await.unwrap_or_default() {
            Answer::Yes => {}
            Answer::Typed(typed) if typed == fingerprint => {}
            Answer::Typed(_) => {
                let message = format!("the fingerprint that you typed is not the peer's, {fingerprint}");
                return Err(CliError::new(Exit::Distrust, message)
                    .hint("somebody may be in between; nothing was sent"));
            }
            Answer::No => {
                let message = format!("{unknown} is not trusted, and nothing was sent");
                return Err(CliError::new(Exit::Distrust, message));
            }
        }
        remember(&self.keystore, &unknown.known(now()), self.notes);
        Ok(())
    }

    /// Reads files that have changed and says so.
    pub(crate) fn refresh(&self) -> Changes {
        let changes = self.keystore.refresh(now());
        if changes.identity {
            self.notes
                .remark("the identity has changed and is used from now on");
        }
        if changes.trust && !changes.identity {
            self.notes
                .remark("whom to trust has changed and holds from now on");
        }
        for fault in &changes.faults {
            self.notes
                .warning(format_args!("{fault}; what was read before stays in force"));
        }
        changes
    }
}

fn remember(keystore: &Keystore, peer: &KnownPeer, notes: Notes) {
    let met = match peer.place() {
        "*" => "it dialled from this machine".to_owned(),
        place => place.to_owned(),
    };
    match keystore.remember(peer) {
        Ok(true) => notes.remark(format_args!(
            "met {} ({}) for the first time: {met}; remembered in {}",
            peer.name(),
            peer.fingerprint(),
            keystore.home().path_of("known_peers").display()
        )),
        Ok(false) => {}
        Err(error) => notes.warning(format_args!("{} is not remembered: {error}", peer.name())),
    }
}

/// What somebody said about a peer.
#[derive(Default)]
enum Answer {
    Yes,
    #[default]
    No,
    Typed(Fingerprint),
}

fn question(unknown: &UnknownPeer) -> String {
    let document = unknown.document();
    let mut text = format!(
        "{} was never met before. Who answers calls itself {} and has the fingerprint\n  {}\n",
        unknown.place().locator().unwrap_or("this peer"),
        document.name(),
        unknown.fingerprint()
    );
    for line in picture::of(unknown.fingerprint().as_bytes()) {
        text.push_str("  ");
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str("Compare it with what `valkyrie keys show` says there. ");
    text
}

fn asked(question: &str) -> Answer {
    let Some(mut terminal) = ask::terminal() else {
        return Answer::No;
    };
    let mut text = format!("{question}Trust it? (yes, no, or the fingerprint) ");
    loop {
        match ask::line(&mut terminal, &text).as_deref() {
            Ok("yes") => return Answer::Yes,
            Ok("no" | "") | Err(_) => return Answer::No,
            Ok(typed) => match typed.parse() {
                Ok(fingerprint) => return Answer::Typed(fingerprint),
                Err(_) => {
                    text = "Write yes, no, or the whole fingerprint as its owner gave it to you: ".to_owned()
                }
            },
        }
    }
}

impl From<KeystoreError> for CliError {
    fn from(error: KeystoreError) -> Self {
        let described = Self::new(Exit::Local, error.to_string());
        match error {
            KeystoreError::Build(BuildError::Name | BuildError::Word(_) | BuildError::Document(_)) => Self {
                exit: Exit::Usage,
                ..described
            },
            KeystoreError::NoIdentity(_) => described.hint("`valkyrie keys new` makes one"),
            KeystoreError::PassphraseNeeded(_) => {
                described.hint("run it at a terminal, or name a file with --passphrase-file")
            }
            KeystoreError::Exists(_) => {
                described.hint("`valkyrie keys new --replace` puts a new one in its place")
            }
            KeystoreError::IsAuthority => described.hint("name a node's directory with --identity DIR"),
            KeystoreError::NotAuthority => {
                described.hint("`valkyrie keys new --authority --identity DIR` makes an authority")
            }
            _ => described,
        }
    }
}

/// How often files are looked at: a revocation is in force within this time.
pub(crate) const REFRESH_EVERY: Duration = Duration::from_secs(1);
