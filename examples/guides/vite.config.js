// Serves the page, and hands the monitor's paths on in such a way that they seem to come from the monitor's own page.
const origin = "http://127.0.0.1:4100";
const monitor = { target: origin, ws: true, changeOrigin: true, rewriteWsOrigin: true, headers: { origin } };

export default { server: { proxy: { "/v2": monitor } } };
