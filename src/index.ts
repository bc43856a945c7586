// What the package offers to programs: the client and the shape of the documents.

export * from './client/index.js';
export type * from './files/summary-document.js';
export { VERSION } from './version.js';
