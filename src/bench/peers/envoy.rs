//! Envoy, with as many worker threads.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Duty, NUMBER, Prepared, ROUTES, Reload, SECRET, Setup};

pub(super) fn prepare(program: &Path, setup: &Setup) -> io::Result<Prepared> {
    let gateway = setup.duty == Duty::Gateway;
    let socket = |at: SocketAddr| {
        let address = json!({"address": at.ip().to_string(), "port_value": at.port()});
        json!({"socket_address": address})
    };
    let mut routes = Vec::new();
    if gateway {
        routes.extend((0..ROUTES).map(|route| {
            json!({
                "match": {"prefix": format!("/service-{route}/")},
                "route": {"cluster": "origin", "prefix_rewrite": "/"},
                "request_headers_to_add": [{"header": {"key": "X-Gateway", "value": "envoy"}}],
                "response_headers_to_add":
                    [{"header": {"key": "X-Frame-Options", "value": "DENY"}}],
                "stat_prefix": format!("service-{route}"),
            })
        }));
    }
    routes.push(json!({
        "match": {"prefix": "/"},
        "route": {"cluster": "origin", "timeout": "0s"},
    }));
    let manager = json!({
        "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "all",
        "codec_type": "HTTP1",
        "use_remote_address": true,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": filters(gateway),
        "access_log": setup.log().map_or_else(|| json!([]), |log| access_log(&log)),
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    });
    let mut listener = json!({
        "name": "all",
        "address": socket(setup.listen),
        "enable_reuse_port": true,
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager,
        }]}],
    });
    let cluster = json!({
        "name": "origin",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{
            "max_connections": 20000,
            "max_pending_requests": 20000,
            "max_requests": 20000,
        }]},
        "load_assignment": {"cluster_name": "origin", "endpoints": [{
            "lb_endpoints": [{"endpoint": {"address": socket(setup.origin)}}],
        }]},
    });
    let mut bootstrap = json!({"static_resources": {"clusters": [cluster]}});
    let mut reload = None;
    if setup.reloads {
        // What changes is the name of the filter chain, which costs a request nothing.
        listener["filter_chains"][0]["name"] = NUMBER.into();
        listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
        let listeners = serde_json::to_string_pretty(&json!({"resources": [listener]}))?;
        let path = setup.write_watched("listeners.json", &listeners)?;
        bootstrap["node"] = json!({"id": "bench", "cluster": "bench"});
        bootstrap["dynamic_resources"] =
            json!({"lds_config": {"path_config_source": {"path": path}}});
        reload = Some(Reload::File(path, listeners));
    } else {
        bootstrap["static_resources"]["listeners"] = json!([listener]);
    }
    let file = setup.write("envoy.json", &serde_json::to_string_pretty(&bootstrap)?)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args(["--log-level", "error", "--disable-hot-restart"]);
    command.arg("--concurrency").arg(setup.workers().to_string());
    Ok(Prepared { command, file, lacks: "", reload })
}

fn typed(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}

fn filters(gateway: bool) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": typed("filters.http.router.v3.Router")},
    });
    if !gateway {
        return json!([router]);
    }
    // An octet key (RFC 7517 §6.4) is the secret in base64url.
    let key = BASE64_URL_SAFE_NO_PAD.encode(SECRET);
    let keys = json!({"keys": [{"kty": "oct", "alg": "HS256", "k": key}]}).to_string();
    json!([
        {
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": typed("filters.http.jwt_authn.v3.JwtAuthentication"),
                "providers": {"bench": {
                    "local_jwks": {"inline_string": keys},
                    "claim_to_headers": [{"header_name": "X-User-ID", "claim_name": "sub"}],
                    "jwt_cache_config": {"jwt_cache_size": 1000},
                }},
                "rules": [{
                    "match": {"prefix": "/service-"},
                    "requires": {"provider_name": "bench"},
                }],
            },
        },
        {
            "name": "envoy.filters.http.local_ratelimit",
            "typed_config": {
                "@type": typed("filters.http.local_ratelimit.v3.LocalRateLimit"),
                "stat_prefix": "limit",
                "token_bucket": {
                    "max_tokens": 10_000_000,
                    "tokens_per_fill": 10_000_000,
                    "fill_interval": "1s",
                },
                "filter_enabled": {"default_value": {"numerator": 100}},
                "filter_enforced": {"default_value": {"numerator": 100}},
            },
        },
        router,
    ])
}

fn access_log(path: &Path) -> Value {
    json!([{
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": typed("access_loggers.file.v3.FileAccessLog"),
            "path": path,
        },
    }])
}
