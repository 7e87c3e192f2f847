// The key and certificate of the port: read from files, and read again when the files change.
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createSecureContext } from "node:tls";

// Milliseconds between two looks at the files, and between two warnings about a certificate.
const PERIOD = 1000;
const DAY = 86_400_000;

// Days before the end from which on it is warned about; Pulumi then makes another one.
const SOON = 30;

// Identify what is in a file without reading it; undefined if there is no file.
function mark(path) {
  try {
    const { ino, mtimeNs, size } = statSync(path, { bigint: true });
    return `${ino} ${mtimeNs} ${size}`;
  } catch {
    return undefined;
  }
}

// Read the pair, and make sure that it works.
function read(files, settings) {
  const [key, cert] = [readFileSync(files.key), readFileSync(files.certificate)];
  const own = new X509Certificate(cert);
  if (!own.checkPrivateKey(createPrivateKey(key))) {
    throw new Error("the key is not that of the certificate");
  }
  const options = { ...settings, key, cert };
  // Also throws for what OpenSSL does not serve, such as short keys.
  createSecureContext(options);
  return { options, own };
}

// Warn about a certificate that expires soon, or has expired, or whose time has not come.
function warn(own, log) {
  if (Date.now() < new Date(own.validFrom)) {
    log.warn(
      "the certificate is not valid before %s, so browsers refuse it: compare the clocks of this " +
        "machine and of the one where Pulumi runs",
      own.validFrom,
    );
  }
  const days = Math.floor((new Date(own.validTo) - Date.now()) / DAY);
  if (days < SOON) {
    const when = days < 0 ? "has expired" : `expires in ${days} days`;
    log.warn("the certificate %s, at %s: renew it, and run `pulumi up`", when, own.validTo);
  }
}

// Have a server serve the pair in the files, now and whenever it has changed. New connections get
// the new certificate; those that are open stay open. The files are replaced one after the other,
// so they are read only once they have stayed the same from one look to the next; a pair that does
// not work is not served, and the one before stays.
export function follow(server, files, settings, log) {
  let seen, tried, served;
  const look = () => {
    const now = `${mark(files.key)}, ${mark(files.certificate)}`;
    const settled = now === seen;
    seen = now;
    if (!settled || now === tried) {
      return;
    }
    tried = now;
    try {
      const { options, own } = read(files, settings);
      server.setSecureContext(options);
      log.info("serving the certificate %s, valid until %s", own.fingerprint256, own.validTo);
      served = own;
      warn(own, log);
    } catch (error) {
      log.error(
        "%s and %s cannot be used, so the certificate stays as it is: %s",
        files.key, files.certificate, error.message,
      );
    }
  };
  look();
  look();
  setInterval(look, PERIOD);
  setInterval(() => served && warn(served, log), DAY);
}
