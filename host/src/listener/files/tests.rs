//! What a request gets, without a connection: over real sockets is `tests/it/files.rs`.

use std::fs;

use super::*;

/// A folder with an index, a compressed file, a folder in it and a `.gz` of its own.
fn files(path: &str) -> (Files, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("sub")).expect("a folder");
    for (name, text) in [
        ("index.html", "index"),
        ("app.wasm", "module"),
        ("app.wasm.gz", "compressed"),
        ("data.gz", "alone"),
        ("a b.TXT", "spaced"),
        ("sub/index.html", "sub index"),
        ("sub/noindex.html", "no index"),
    ] {
        fs::write(folder.path().join(name), text).expect(name);
    }
    let config = FilesConfig::new(path, folder.path());
    (Files::read(&[config]).expect("files"), folder)
}

fn get(files: &Files, uri: &str) -> Option<Response<Bytes>> {
    ask(files, Method::GET, uri, &[])
}

fn ask(
    files: &Files,
    method: Method,
    uri: &str,
    headers: &[(HeaderName, &str)],
) -> Option<Response<Bytes>> {
    let uri = uri.parse().expect(uri);
    let pair =
        |(name, value): &(HeaderName, &str)| (name.clone(), value.parse().expect("a header value"));
    files.answer(&method, &uri, &headers.iter().map(pair).collect())
}

fn header(response: &Response<Bytes>, name: HeaderName) -> &str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().expect("printable"))
}

#[test]
fn a_path_is_a_file_an_index_a_redirect_or_nothing() {
    let (files, _folder) = files("/demo/");
    for (path, status, body) in [
        ("/demo/", 200, "index"),
        ("/demo/?calls=200", 200, "index"),
        ("/demo/index.html", 200, "index"),
        ("/demo/app.wasm", 200, "module"),
        ("/demo/data.gz", 200, "alone"),
        ("/demo/a%20b.TXT", 200, "spaced"),
        ("/demo/sub/", 200, "sub index"),
        ("/demo/sub%2Findex.html", 200, "sub index"),
        ("/demo/sub", 307, ""),
        ("/demo", 307, ""),
        ("/demo/noindex.html", 404, ""),
        ("/demo/sub/noindex.html/", 404, ""),
        // The compressed form is not a file of its own.
        ("/demo/app.wasm.gz", 404, ""),
        ("/demo//", 404, ""),
        ("/demo/../index.html", 404, ""),
        ("/demo/%2e%2e/%2e%2e/etc/passwd", 404, ""),
        ("/demo/sub/..%2f..%2f..%2fetc/passwd", 404, ""),
        ("/demo/..\\index.html", 404, ""),
        ("/demo/%00", 404, ""),
        ("/demo/%ff", 404, ""),
        ("/demo/INDEX.HTML", 404, ""),
    ] {
        let response = get(&files, path).expect(path);
        assert_eq!(response.status(), status, "{path}");
        if status == 200 {
            assert_eq!(response.body(), body, "{path}");
        }
        assert_eq!(header(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    }
    for path in ["/", "/demonstration/", "/Demo/", "/tunnel", "//demo/"] {
        assert!(get(&files, path).is_none(), "{path}");
    }
}

#[test]
fn a_redirect_stays_on_this_server_and_keeps_the_query() {
    let (demo, _folder) = files("/demo/");
    let response = get(&demo, "/demo?calls=200").expect("ours");
    assert_eq!(header(&response, header::LOCATION), "/demo/?calls=200");
    let (root, _folder) = files("/");
    let response = get(&root, "/sub").expect("ours");
    assert_eq!(header(&response, header::LOCATION), "/sub/");
    // Would lead to the host `sub`.
    let response = get(&root, "//sub").expect("ours");
    assert_eq!(response.status(), 404);
}

#[test]
fn who_takes_gzip_gets_it_under_its_own_tag() {
    let (files, _folder) = files("/demo/");
    let ask = |encodings, tag| {
        let headers = [
            (header::ACCEPT_ENCODING, encodings),
            (header::IF_NONE_MATCH, tag),
        ];
        ask(&files, Method::GET, "/demo/app.wasm", &headers).expect("ours")
    };
    let plain = ask("identity", "");
    let gzip = ask("gzip, br", "");
    assert_eq!(
        (&plain.body()[..], &gzip.body()[..]),
        (&b"module"[..], &b"compressed"[..])
    );
    for response in [&plain, &gzip] {
        assert_eq!(header(response, header::CONTENT_TYPE), "application/wasm");
        assert_eq!(header(response, header::VARY), "accept-encoding");
        assert_eq!(header(response, header::CACHE_CONTROL), "no-cache");
    }
    assert_eq!(header(&plain, header::CONTENT_ENCODING), "");
    assert_eq!(header(&gzip, header::CONTENT_ENCODING), "gzip");
    assert_eq!(header(&gzip, header::CONTENT_LENGTH), "10");
    let (plain, gzip) = (header(&plain, header::ETAG), header(&gzip, header::ETAG));
    assert_ne!(plain, gzip);
    let unchanged = ask("gzip", gzip);
    assert_eq!(unchanged.status(), 304);
    assert!(unchanged.body().is_empty());
    assert_eq!(header(&unchanged, header::ETAG), gzip);
    assert_eq!(header(&unchanged, header::CONTENT_LENGTH), "");
    assert_eq!(ask("gzip", plain).status(), 200);
    assert_eq!(ask("identity", plain).status(), 304);
}

#[test]
fn a_head_is_an_answer_without_its_body_and_other_methods_have_none() {
    let (files, _folder) = files("/demo/");
    let head = ask(&files, Method::HEAD, "/demo/app.wasm", &[]).expect("ours");
    assert_eq!(head.status(), 200);
    assert_eq!(header(&head, header::CONTENT_LENGTH), "6");
    assert!(head.body().is_empty());
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let refused = ask(&files, method, "/demo/", &[]).expect("ours");
        assert_eq!(refused.status(), 405);
        assert_eq!(header(&refused, header::ALLOW), "GET, HEAD");
    }
}

#[test]
fn content_types_go_by_the_ending() {
    for (name, expected) in [
        ("index.html", "text/html; charset=utf-8"),
        ("a.b.js", "text/javascript; charset=utf-8"),
        ("a.WASM", "application/wasm"),
        ("sub.css/file", TYPE_UNKNOWN),
        ("noending", TYPE_UNKNOWN),
        ("", TYPE_UNKNOWN),
    ] {
        assert_eq!(content_type(name), expected, "{name}");
    }
}

#[test]
fn the_longer_of_two_paths_wins() {
    let (_, outer) = files("/");
    let inner = tempfile::tempdir().expect("a folder");
    fs::write(inner.path().join("index.html"), "inner").expect("a file");
    let configs = [
        FilesConfig::new("/", outer.path()),
        FilesConfig::new("/sub/", inner.path()),
    ];
    let files = Files::read(&configs).expect("files");
    assert_eq!(get(&files, "/sub/").expect("ours").body(), "inner");
    assert_eq!(get(&files, "/").expect("ours").body(), "index");
    assert_eq!(files.index(), Some("/sub/"));
}
