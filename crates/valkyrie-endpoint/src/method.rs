//! Which service and method a message is for, encoded once.

use thiserror::Error;
use valkyrie_frame::{Extension, ExtensionError, Extensions, ExtensionsBuilder};

/// A service and a method, checked and encoded as they travel. Cloning is a reference count, so a loop that calls the
/// same method encodes nothing.
///
/// ```
/// use valkyrie_endpoint::Method;
///
/// let echo = Method::new("echo", "echo")?;
/// assert_eq!((echo.service(), echo.name()), ("echo", "echo"));
/// assert!(Method::new("", "echo").is_err());
/// # Ok::<(), valkyrie_endpoint::MethodError>(())
/// ```
//= protocol/routes.md#encoding
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    extensions: Extensions,
}

impl Method {
    /// Checks and encodes the two names: a service of 1 to 200 bytes, a method of at least one, at most 254 together.
    ///
    /// # Errors
    /// [`MethodError`]: the caller is at fault.
    pub fn new(service: &str, method: &str) -> Result<Self, MethodError> {
        Ok(Self {
            extensions: Extensions::builder().route(service, method)?.finish()?,
        })
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        self.extensions.route().map_or("", |(service, _)| service)
    }

    /// The method's name.
    pub fn name(&self) -> &str {
        self.extensions.route().map_or("", |(_, method)| method)
    }

    /// The extension area with the route alone.
    #[inline]
    pub(crate) fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}

/// The same extensions, and the idempotency key.
pub(crate) fn with_key(extensions: &Extensions, key: &[u8; 16]) -> Result<Extensions, MethodError> {
    Ok(rebuild(extensions)?.idempotency_key(key).finish()?)
}

/// The same extensions, and the trace context.
pub(crate) fn with_trace(extensions: &Extensions, context: &[u8; 26]) -> Result<Extensions, MethodError> {
    Ok(rebuild(extensions)?.trace_context(context).finish()?)
}

/// What callers can say: a route, an idempotency key and a trace context.
fn rebuild(extensions: &Extensions) -> Result<ExtensionsBuilder, MethodError> {
    let mut builder = Extensions::builder();
    for extension in extensions.iter() {
        builder = match extension {
            Extension::Route { service, method } => builder.route(service, method)?,
            Extension::IdempotencyKey(key) => builder.idempotency_key(key),
            Extension::TraceContext(context) => builder.trace_context(context),
            _ => builder,
        };
    }
    Ok(builder)
}

/// The names of a service and a method cannot be encoded. The caller is at fault; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the caller's service and method cannot be sent together: {0}; nothing was sent")]
pub struct MethodError(#[from] ExtensionError);

/// What names a method: a [`Method`], or a pair of names that is encoded on the spot.
pub trait ToMethod {
    /// The method.
    ///
    /// # Errors
    /// [`MethodError`]: the caller is at fault.
    fn to_method(self) -> Result<Method, MethodError>;
}

impl ToMethod for Method {
    #[inline]
    fn to_method(self) -> Result<Method, MethodError> {
        Ok(self)
    }
}

impl ToMethod for &Method {
    #[inline]
    fn to_method(self) -> Result<Method, MethodError> {
        Ok(self.clone())
    }
}

impl ToMethod for (&str, &str) {
    fn to_method(self) -> Result<Method, MethodError> {
        Method::new(self.0, self.1)
    }
}
