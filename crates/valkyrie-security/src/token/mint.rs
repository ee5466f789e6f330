//! Makes tokens, and narrows them.

use std::fmt;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use valkyrie_frame::Class;
use zeroize::Zeroizing;

use super::block::Symbols;
use super::check::Ambient;
use super::container::{Container, pair};
use super::wire::Writer;
use super::{TokenError, TokenRoot, hex};
use crate::policy::Classes;
use crate::provider::PublicKey;
use crate::time::UnixTime;

/// A capability token, in the form in which it travels. Whoever holds it may use and narrow it, so it is a secret unless
/// it is bound to a peer and sealed; it is erased when dropped, and not shown.
///
/// ```
/// use std::time::Duration;
/// use valkyrie_security::UnixTime;
/// use valkyrie_security::token::{Narrowing, Right, Token, TokenKey};
///
/// let now = UnixTime::from_secs(1_800_000_000);
/// let root = TokenKey::generate()?;
/// let token = Token::mint(&root, &[Right::service("rustci")], now.saturating_add(Duration::from_secs(3600)))?;
/// // Whoever is given the token hands on less of it, without asking anybody.
/// let narrow = token.attenuate(&Narrowing::new().methods(["submit", "watch"]))?;
/// assert_ne!(token.as_bytes(), narrow.as_bytes());
/// # Ok::<(), valkyrie_security::token::TokenError>(())
/// ```
pub struct Token {
    bytes: Zeroizing<Vec<u8>>,
}

/// Calls that a token is for. `None` stands for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The service's name.
    pub service: Option<String>,
    /// The method's name.
    pub method: Option<String>,
    /// The class of the calls.
    pub class: Option<Class>,
}

impl Right {
    /// Every method of a service, in every class that the receiver lets tokens give.
    pub fn service(service: &str) -> Self {
        Self {
            service: Some(service.to_owned()),
            method: None,
            class: None,
        }
    }

    /// One method, in every class that the receiver lets tokens give.
    pub fn method(service: &str, method: &str) -> Self {
        Self {
            method: Some(method.to_owned()),
            ..Self::service(service)
        }
    }

    /// The same in one class.
    #[must_use]
    pub fn in_class(self, class: Class) -> Self {
        Self {
            class: Some(class),
            ..self
        }
    }

    /// Whether it is for such a call, in any class.
    pub(super) fn is_for(&self, service: &str, method: &str) -> bool {
        let fits = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        fits(&self.service, service) && fits(&self.method, method)
    }
}

/// The key that signs tokens. Who has it can grant whatever a policy lets tokens grant.
pub struct TokenKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
    root: TokenRoot,
}

impl TokenKey {
    /// A new one.
    ///
    /// # Errors
    /// [`TokenError::Key`]
    pub fn generate() -> Result<Self, TokenError> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(&mut *seed).map_err(|_| TokenError::Key)?;
        Self::from_seed(&seed)
    }

    /// The one that follows from a seed that [`seed`](Self::seed) gave.
    ///
    /// # Errors
    /// [`TokenError::Key`]
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, TokenError> {
        let pair = pair(seed)?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(Self {
            seed: Zeroizing::new(*seed),
            pair,
            root: TokenRoot::from_bytes(public),
        })
    }

    /// What it follows from: the secret to keep.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    /// Its public half, which policies name.
    pub fn root(&self) -> TokenRoot {
        self.root
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey(private half of {}, ..)", self.root)
    }
}

/// What is left of a token when it is narrowed. What is not said stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Narrowing {
    services: Option<Vec<String>>,
    methods: Option<Vec<String>>,
    classes: Option<Classes>,
    expires: Option<UnixTime>,
    peer: Option<PublicKey>,
}

impl Narrowing {
    /// Nothing is taken away yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only these services.
    #[must_use]
    pub fn services<S: Into<String>>(mut self, services: impl IntoIterator<Item = S>) -> Self {
        self.services = Some(services.into_iter().map(Into::into).collect());
        self
    }

    /// Only methods of these names.
    #[must_use]
    pub fn methods<S: Into<String>>(mut self, methods: impl IntoIterator<Item = S>) -> Self {
        self.methods = Some(methods.into_iter().map(Into::into).collect());
        self
    }

    /// Only these classes.
    #[must_use]
    pub fn classes(mut self, classes: Classes) -> Self {
        self.classes = Some(classes);
        self
    }

    /// Only before this time, to the second.
    #[must_use]
    pub fn expires(mut self, expires: UnixTime) -> Self {
        self.expires = Some(expires);
        self
    }

    /// Only on connections on which this static key was proved: of no use to a thief.
    #[must_use]
    pub fn bound_to(mut self, peer: PublicKey) -> Self {
        self.peer = Some(peer);
        self
    }
}

impl Token {
    /// Bytes that a token may have. It leaves room for a document and signatures in one message of credentials.
    pub const BYTES_MAX: usize = 4096;

    /// A token that grants `rights` until `expires`, to the second.
    ///
    /// # Errors
    /// [`TokenError`]: a name cannot be one, the token would be longer than one may be, or this machine is out of
    /// randomness. Nothing was made.
    //= protocol/security.md#tokens
    pub fn mint(key: &TokenKey, rights: &[Right], expires: UnixTime) -> Result<Self, TokenError> {
        if rights.is_empty() {
            return Err(TokenError::NoRights);
        }
        for right in rights {
            [&right.service, &right.method]
                .into_iter()
                .flatten()
                .try_for_each(|name| check_name(name))?;
        }
        let narrowing = Narrowing::new().expires(expires);
        let block = write_block(&mut Symbols::default(), rights, &narrowing);
        Self::checked(&Container::new(&key.pair, &block)?)
    }

    /// The same token, for less. The token itself is unchanged.
    ///
    /// # Errors
    /// [`TokenError`]: a name cannot be one, the token is sealed, cannot be read, or would be longer than one may be.
    pub fn attenuate(&self, narrowing: &Narrowing) -> Result<Self, TokenError> {
        let names = [&narrowing.services, &narrowing.methods];
        for name in names.into_iter().flatten().flatten() {
            check_name(name)?;
        }
        let container = Container::read(&self.bytes)?;
        let mut symbols = Symbols::of(container.blocks())?;
        let block = write_block(&mut symbols, &[], narrowing);
        Self::checked(&container.append(&block)?)
    }

    /// The same token, which cannot be narrowed any more: without the secret that narrowing takes.
    ///
    /// # Errors
    /// [`TokenError`]: it cannot be read, or is sealed already.
    pub fn seal(&self) -> Result<Self, TokenError> {
        Self::checked(&Container::read(&self.bytes)?.seal()?)
    }

    /// A token that came from elsewhere. Its form is checked, nothing else.
    ///
    /// # Errors
    /// [`TokenError`]: this is no token that could be taken anywhere.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        Container::read(bytes).map(|_| Self {
            bytes: Zeroizing::new(bytes.to_vec()),
        })
    }

    /// The bytes that travel.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// By what it can be revoked: the last is its own, the ones before are those of the tokens that it was made from. In
    /// hexadecimal, as policies write them.
    pub fn revocation_ids(&self) -> Vec<String> {
        match Container::read(&self.bytes) {
            Ok(container) => container.signatures().map(|id| hex(id)).collect(),
            Err(_) => Vec::new(),
        }
    }

    fn checked(container: &Container) -> Result<Self, TokenError> {
        let bytes = container.write();
        super::block::Program::read(container.blocks())?;
        match bytes.len() > Self::BYTES_MAX {
            true => Err(TokenError::TooLong),
            false => Ok(Self { bytes }),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} bytes, ..)", self.bytes.len())
    }
}

/// A name of a service is up to 200 bytes on the wire, one of a method less than 254; `*` stands for any.
fn check_name(name: &str) -> Result<(), TokenError> {
    const NAME_BYTES_MAX: usize = 253;
    match name.is_empty() || name.len() > NAME_BYTES_MAX || name == "*" {
        true => Err(TokenError::Name(name.chars().take(NAME_BYTES_MAX).collect())),
        false => Ok(()),
    }
}

/// The block of Datalog 3.0 that states `rights` and checks what `narrowing` says.
fn write_block(symbols: &mut Symbols, rights: &[Right], narrowing: &Narrowing) -> Vec<u8> {
    let declared = symbols.len();
    let mut statements = Writer::default();
    for right in rights {
        let class = right.class.map(Class::name);
        let terms = [right.service.as_deref(), right.method.as_deref(), class];
        let numbers = terms.map(|text| symbols.number(text.unwrap_or("*")));
        let name = symbols.number("right");
        statements.message(4, |fact| {
            fact.message(1, |predicate| {
                predicate.number(1, name);
                for number in numbers {
                    predicate.message(2, |term| {
                        term.number(3, number);
                    });
                }
            });
        });
    }
    let classes = narrowing
        .classes
        .map(|classes| classes.iter().map(|class| class.name().to_owned()).collect());
    let peer = narrowing.peer.as_ref().map(|peer| vec![hex(peer.as_bytes())]);
    let lists: [(Ambient, Option<&Vec<String>>); 4] = [
        (Ambient::Service, narrowing.services.as_ref()),
        (Ambient::Method, narrowing.methods.as_ref()),
        (Ambient::Class, classes.as_ref()),
        (Ambient::Peer, peer.as_ref()),
    ];
    for (ambient, list) in lists {
        if let Some(list) = list {
            write_membership(&mut statements, symbols, ambient, list);
        }
    }
    if let Some(expires) = narrowing.expires {
        write_expiry(&mut statements, symbols, expires);
    }
    let mut block = Writer::default();
    for symbol in symbols.since(declared) {
        block.bytes(1, symbol.as_bytes());
    }
    block.number(3, 3);
    [&**block.finish(), &**statements.finish()].concat()
}

/// `check if service($service), {"a", "b"}.contains($service)`
fn write_membership(out: &mut Writer, symbols: &mut Symbols, ambient: Ambient, list: &[String]) {
    let mut members: Vec<u64> = list.iter().map(|text| symbols.number(text)).collect();
    members.sort_unstable();
    members.dedup();
    let variable = symbols.number(ambient.name());
    write_check(out, symbols, ambient, |expression| {
        expression.message(1, |op| {
            op.message(1, |term| {
                term.message(7, |set| {
                    for member in members {
                        set.message(1, |term| {
                            term.number(3, member);
                        });
                    }
                });
            });
        });
        write_variable(expression, variable);
        write_binary(expression, 5);
    });
}

/// `check if time($time), $time < expires`
fn write_expiry(out: &mut Writer, symbols: &mut Symbols, expires: UnixTime) {
    let variable = symbols.number(Ambient::Time.name());
    write_check(out, symbols, Ambient::Time, |expression| {
        write_variable(expression, variable);
        expression.message(1, |op| {
            op.message(1, |term| {
                term.number(4, expires.secs());
            });
        });
        write_binary(expression, 0);
    });
}

/// `check if ambient($ambient), expression`
fn write_check(
    out: &mut Writer,
    symbols: &mut Symbols,
    ambient: Ambient,
    expression: impl FnOnce(&mut Writer),
) {
    let (query, name) = (symbols.number("query"), symbols.number(ambient.name()));
    out.message(6, |check| {
        check.message(1, |rule| {
            rule.message(1, |head| {
                head.number(1, query);
            });
            rule.message(2, |predicate| {
                predicate.number(1, name).message(2, |term| {
                    term.number(1, name);
                });
            });
            rule.message(3, expression);
        });
    });
}

fn write_variable(expression: &mut Writer, variable: u64) {
    expression.message(1, |op| {
        op.message(1, |term| {
            term.number(1, variable);
        });
    });
}

fn write_binary(expression: &mut Writer, kind: u64) {
    expression.message(1, |op| {
        op.message(3, |binary| {
            binary.number(1, kind);
        });
    });
}
