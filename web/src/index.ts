// The list of live streams, at `/`.

import { mount } from 'svelte';

import './styles/base.css';
import Index from './ui/Index.svelte';

const target = document.getElementById('app');
if (target) mount(Index, { target });
