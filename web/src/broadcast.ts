// The broadcaster page, at `/broadcast`.

import { mount } from 'svelte';

import { readAddress } from './lib/broadcast/address';
import './styles/base.css';
import Broadcast from './ui/broadcast/Broadcast.svelte';

const target = document.getElementById('app');
const address = readAddress(location.href);
// A token leaves the address before anything else happens.
history.replaceState(null, '', address.clean);
if (target) mount(Broadcast, { target, props: { address } });
