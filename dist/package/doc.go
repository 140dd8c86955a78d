// Package pack is where nfpm, which makes the packages, has its releases from: a module of
// its own, so that nfpm's dependencies are not the daemon's.
package pack
