// The viewer page, at `/watch/{stream}`.

import { mount } from 'svelte';

import { parseOptions } from './lib/options';
import { streamOfPath } from './lib/streams';
import './styles/base.css';
import Watch from './ui/Watch.svelte';

const target = document.getElementById('app');
const stream = streamOfPath(location.pathname);
if (stream === null) location.replace('/');
else if (target)
  mount(Watch, { target, props: { stream, options: parseOptions(location.search) } });
