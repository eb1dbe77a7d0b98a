//go:build linux || darwin

package app

import (
	"fmt"
	"os"
	"syscall"
)

// roomOf gives the bytes that are free for us on the disk of a folder; ok is false
// where that is not known.
func roomOf(dir string) (free uint64, ok bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true
}

// folderID tells a data folder, by its lock, from all others: from a copy of it, and
// from one on another machine. "" where it cannot.
func folderID(lock *os.File) string {
	var s syscall.Stat_t
	at := machine()
	if err := syscall.Fstat(int(lock.Fd()), &s); err != nil || at == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d:%d", at, s.Dev, s.Ino)
}
