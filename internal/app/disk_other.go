//go:build !linux && !darwin

package app

import "os"

// roomOf is not known here.
func roomOf(string) (free uint64, ok bool) { return 0, false }

// folderID is not known here.
func folderID(*os.File) string { return "" }
