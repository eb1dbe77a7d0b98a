//go:build !linux && !darwin

package app

// roomOf is not known here.
func roomOf(string) (free uint64, ok bool) { return 0, false }
