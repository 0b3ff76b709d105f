# Varnish with its defaults, which are meant for speed: the store in memory.
vcl 4.1;
backend origin { .host = "@ORIGIN_HOST@"; .port = "@ORIGIN_PORT@"; }
sub vcl_recv {
    if (req.url ~ "^/pass/") { return (pass); }
    return (hash);
}
