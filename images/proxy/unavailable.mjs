// The answer while the hub is away, as when it is replaced: a page that tries again by itself.
const SECONDS = 3;

const TEXT = "The hub is not available at the moment. Please try again in a few seconds.\n";

const PAGE = (again) => `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
${again ? `<meta http-equiv="refresh" content="${SECONDS}">` : ""}
<title>JupyterHub is restarting</title>
</head>
<body>
<h1>JupyterHub is restarting</h1>
<p>${again ? "This page tries again by itself." : "Please go back and try again in a few seconds."}
Servers that are running go on, and so do their kernels.</p>
</body>
</html>
`;

// Answer a request that the hub cannot answer now.
export function unavailable(request, response) {
  if (response.headersSent || response.writableEnded) {
    // Part of an answer was sent already. The client must see that it is not whole.
    response.destroy();
    return;
  }
  const page = /\btext\/html\b/.test(request.headers.accept ?? "");
  // A form that was sent must not be sent again by itself.
  const body = page ? PAGE(["GET", "HEAD"].includes(request.method)) : TEXT;
  response.writeHead(503, {
    "Cache-Control": "no-store",
    "Content-Type": `text/${page ? "html" : "plain"}; charset=utf-8`,
    "Content-Length": Buffer.byteLength(body),
    "Retry-After": SECONDS,
  });
  response.end(request.method === "HEAD" ? undefined : body);
}
