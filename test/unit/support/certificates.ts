// Certificates for tests, made by openssl: an authority, and what it has signed.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Pair {
  certFile: string;
  keyFile: string;
  cert: Buffer;
  key: Buffer;
}

/** A certificate authority of the test's own, in `folder`. */
export class Authority {
  readonly caFile: string;
  readonly ca: Buffer;
  readonly #folder: string;
  readonly #keyFile: string;

  constructor(folder: string, name = 'authority') {
    this.#folder = folder;
    this.caFile = join(folder, `${name}.pem`);
    this.#keyFile = join(folder, `${name}.key`);
    openssl(
      'req',
      '-x509',
      ...NEW_KEY,
      '-keyout',
      this.#keyFile,
      '-out',
      this.caFile,
      '-subj',
      `/CN=${name}`,
      '-days',
      '2',
    );
    this.ca = readFileSync(this.caFile);
  }

  /** `sans` as openssl writes them: `DNS:localhost,IP:127.0.0.1`. */
  issue(name: string, sans: string): Pair {
    const file = (suffix: string) => join(this.#folder, `${name}.${suffix}`);
    const [certFile, keyFile, request, extensions] = [file('pem'), file('key'), file('csr'), file('ext')];
    writeFileSync(extensions, `subjectAltName=${sans}\n`);
    openssl('req', ...NEW_KEY, '-keyout', keyFile, '-out', request, '-subj', `/CN=${name}`);
    const signed = ['-CA', this.caFile, '-CAkey', this.#keyFile, '-CAcreateserial', '-extfile', extensions];
    openssl('x509', '-req', '-in', request, '-out', certFile, '-days', '2', ...signed);
    return { certFile, keyFile, cert: readFileSync(certFile), key: readFileSync(keyFile) };
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
