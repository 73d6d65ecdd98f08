// Package demo shows the main job on a bad day: a burst of signed requests, a
// third party that times out, refuses, dies for ten seconds and has a bug, and a
// partner that first does not listen. It ends with the conservation table, which
// it checks against what the sender, the third party and the partner counted.
//
// Everything is its own: servers, ports, folders. It can run beside anything.
package demo
