//! An agent that gives what a test puts into it: the call FetchX509SVID of the Workload API, over gRPC and a Unix socket.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P521_SHA512, SanType, SignatureAlgorithm,
    date_time_ymd,
};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::{Service, StdError};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

/// Who signs for a trust domain.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn der(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.der())
    }

    /// A fresh certificate, good until the end of that year, and its key.
    fn sign(&self, id: &str, kind: &'static SignatureAlgorithm, last_year: i32) -> (Bytes, Bytes) {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(last_year, 12, 31);
        params.is_ca = IsCa::ExplicitNoCa;
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate_for(kind).unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        (
            Bytes::copy_from_slice(leaf.der()),
            Bytes::copy_from_slice(key.serialized_der()),
        )
    }
}

/// X509SVIDRequest of workload.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct Asked {}

/// X509SVIDResponse of workload.proto, whose field 2 is made wrong on purpose: revocation lists, which are bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Given {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<Svid>,
    #[prost(uint64, tag = "2")]
    mistyped: u64,
    #[prost(map = "string, bytes", tag = "3")]
    federated_bundles: HashMap<String, Bytes>,
}

/// X509SVID of workload.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(bytes = "bytes", tag = "2")]
    x509_svid: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    x509_svid_key: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    bundle: Bytes,
}

impl Given {
    /// A fresh SVID of `id` under `authority`, and the authority as its bundle.
    pub(crate) fn new(authority: &Authority, id: &str) -> Self {
        Self::until(authority, id, 2040)
    }

    /// The same, good until the end of that year.
    pub(crate) fn until(authority: &Authority, id: &str, last_year: i32) -> Self {
        Self::of(authority, id, &PKCS_ECDSA_P256_SHA256, last_year)
    }

    /// With a key of a kind that signs no proofs.
    pub(crate) fn with_useless_key(authority: &Authority, id: &str) -> Self {
        Self::of(authority, id, &PKCS_ECDSA_P521_SHA512, 2040)
    }

    fn of(authority: &Authority, id: &str, kind: &'static SignatureAlgorithm, last_year: i32) -> Self {
        let (leaf, key) = authority.sign(id, kind, last_year);
        Self {
            svids: vec![Svid {
                spiffe_id: id.to_owned(),
                x509_svid: leaf,
                x509_svid_key: key,
                bundle: authority.der(),
            }],
            ..Self::default()
        }
    }

    /// What is no message of the Workload API.
    pub(crate) fn no_message() -> Self {
        Self {
            mistyped: 1,
            ..Self::default()
        }
    }

    /// A message with nothing in it.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    pub(crate) fn federated(mut self, trust_domain: &str, authority: &Authority) -> Self {
        let id = format!("spiffe://{trust_domain}");
        self.federated_bundles.insert(id, authority.der());
        self
    }

    /// With the certificates that `change` makes of the one.
    pub(crate) fn with_chain(mut self, change: impl FnOnce(Bytes) -> Bytes) -> Self {
        let svid = &mut self.svids[0];
        svid.x509_svid = change(svid.x509_svid.clone());
        self
    }

    /// With the key of another.
    pub(crate) fn with_key_of(mut self, other: &Self) -> Self {
        self.svids[0].x509_svid_key = other.svids[0].x509_svid_key.clone();
        self
    }

    pub(crate) fn with_bundle(mut self, bundle: Bytes) -> Self {
        self.svids[0].bundle = bundle;
        self
    }
}

/// What an agent says: something, or a status without anything.
type Said = Result<Given, Code>;

/// An agent that runs until it is stopped or dropped.
pub(crate) struct Agent {
    folder: TempDir,
    said: Arc<watch::Sender<Said>>,
    /// One of its own: whoever ends it ends the agent as a process would end, with all its connections.
    runtime: Option<Runtime>,
}

impl Agent {
    pub(crate) fn start(given: Given) -> Self {
        Self::start_saying(Ok(given))
    }

    pub(crate) fn start_saying(said: Said) -> Self {
        let mut agent = Self {
            folder: tempfile::tempdir().unwrap(),
            said: Arc::new(watch::Sender::new(said)),
            runtime: None,
        };
        agent.resume();
        agent
    }

    /// Runs again, at the same address.
    pub(crate) fn resume(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let guard = runtime.enter();
        let listener = UnixListener::bind(self.socket()).unwrap();
        let api = WorkloadApi {
            said: Arc::clone(&self.said),
        };
        let server = tonic::transport::Server::builder().add_service(api);
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        drop(guard);
        self.runtime = Some(runtime);
    }

    /// Ends at once, with all its connections.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// Gives everybody who listens something else.
    pub(crate) fn give(&self, given: Given) {
        let _ = self.said.send_replace(Ok(given));
    }

    /// Says this to everybody who listens, and gives nothing.
    pub(crate) fn say(&self, code: Code) {
        let _ = self.said.send_replace(Err(code));
    }

    /// How many workloads listen.
    pub(crate) fn listeners(&self) -> usize {
        self.said.receiver_count()
    }

    /// Waits until nobody listens.
    pub(crate) async fn until_alone(&self) {
        self.said.closed().await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone)]
struct WorkloadApi {
    said: Arc<watch::Sender<Said>>,
}

impl NamedService for WorkloadApi {
    const NAME: &'static str = "SpiffeWorkloadAPI";
}

type Answers = Pin<Box<dyn Stream<Item = Result<Given, Status>> + Send>>;
type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl ServerStreamingService<Asked> for WorkloadApi {
    type Response = Given;
    type ResponseStream = Answers;
    type Future = Answer<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        // Clients have to say that they mean it, so that no browser can be made to ask.
        let means_it = request
            .metadata()
            .get("workload.spiffe.io")
            .is_some_and(|value| value == "true");
        let answers = WatchStream::new(self.said.subscribe())
            .map(|said| said.map_err(|code| Status::new(code, "said the test")));
        Box::pin(async move {
            match means_it {
                true => Ok(Response::new(Box::pin(answers) as Answers)),
                false => Err(Status::invalid_argument("security header missing")),
            }
        })
    }
}

impl<B> Service<http::Request<B>> for WorkloadApi
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/SpiffeWorkloadAPI/FetchX509SVID" => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.server_streaming(api, request).await
                }
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}
