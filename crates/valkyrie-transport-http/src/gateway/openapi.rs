//! The OpenAPI document of what can be called.

use serde_json::{Map, Value, json};

use super::upstream::{Offer, Shape};

/// The document, version 3.1 of the specification.
pub(super) fn document(offers: &[Offer]) -> Value {
    let mut paths = Map::new();
    for offer in offers {
        let path = format!("/v2/call/{}/{}", segment(&offer.service), segment(&offer.method));
        paths.insert(path, json!({ "post": operation(offer) }));
    }
    paths.insert("/healthz".to_owned(), probe("Whether the gateway runs"));
    paths.insert("/readyz".to_owned(), probe("Whether calls can be answered"));
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Valkyrie gateway", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": { "Problem": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": { "type": "string" },
                    "title": { "type": "string" },
                    "status": { "type": "integer" },
                    "detail": { "type": "string" },
                    "code": { "type": "integer", "description": "the error code of the protocol" },
                    "retry_after_ms": { "type": "integer" },
                },
            } },
        },
    })
}

fn operation(offer: &Offer) -> Value {
    let bytes = json!({ "application/json": {}, "application/octet-stream": {} });
    let answer = match offer.shape {
        Shape::Unary => json!({ "description": "the answer", "content": bytes }),
        Shape::Notify => json!({ "description": "sent; there is no answer" }),
        Shape::Stream => json!({ "description": "the answers", "content": { "text/event-stream": {} } }),
    };
    let field = |name: &str, about: &str| json!({ "name": name, "in": "header", "description": about, "schema": { "type": "string" } });
    json!({
        "operationId": format!("{}/{}", offer.service, offer.method),
        "tags": [offer.service],
        "summary": offer.about,
        "security": [{}, { "token": [] }],
        "parameters": [
            field("valkyrie-timeout", "how long the client waits, as 250ms, 30s or 5m"),
            field("traceparent", "W3C trace context"),
        ],
        "requestBody": { "content": bytes },
        "responses": {
            "200": answer,
            "default": {
                "description": "a failure",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            },
        },
    })
}

fn probe(about: &str) -> Value {
    json!({ "get": { "summary": about, "responses": {
        "200": { "description": "yes" },
        "503": { "description": "no" },
    } } })
}

/// A name as a segment of a path.
fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => segment.push(byte.into()),
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}
