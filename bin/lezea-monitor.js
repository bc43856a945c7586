#!/usr/bin/env node
// The command `lezea-monitor`: hands the arguments to dist/cli/main.js and ends with the status it returns.

import { main } from '../dist/cli/main.js';

process.exitCode = await main(process.argv.slice(2));
