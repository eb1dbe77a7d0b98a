//go:build linux || darwin

package app

import "syscall"

// roomOf gives the bytes that are free for us on the disk of a folder; ok is false
// where that is not known.
func roomOf(dir string) (free uint64, ok bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true
}
