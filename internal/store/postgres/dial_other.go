//go:build !linux

package postgres

import "syscall"

// giveUp leaves it to the system when a connection is broken on which what was sent is
// not acknowledged.
func giveUp(string, string, syscall.RawConn) error { return nil }
