// A certificate authority of one test and a certificate for 127.0.0.1 that it signs, made by the openssl program.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificates {
  /** File of the authority's certificate, PEM. */
  caFile: string;
  /** Of the server, PEM. */
  key: string;
  cert: string;
}

export function makeCertificates(folder: string): Certificates {
  const file = (name: string) => join(folder, name);
  const make = (name: string, subject: string, ...more: string[]) =>
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
        ...['-subj', `/CN=${subject}`, '-keyout', file(`${name}.key`), '-out', file(`${name}.pem`), ...more],
      ],
      { stdio: 'pipe' },
    );
  make('ca', 'authority of a test');
  const signed = ['-CA', file('ca.pem'), '-CAkey', file('ca.key')];
  make('server', '127.0.0.1', ...signed, '-addext', 'subjectAltName=IP:127.0.0.1');
  const text = (name: string) => readFileSync(file(name), 'utf8');
  return { caFile: file('ca.pem'), key: text('server.key'), cert: text('server.pem') };
}
