package sqlstore

import (
	"strings"
	"testing"
)

func TestOfANewerSchemaItIsSaidWhatThisProgramCanDoWithIt(t *testing.T) {
	for s, want := range map[[3]int64]string{
		{24, 24, 18}: "",
		{23, 24, 18}: "",
		{25, 24, 18}: "serves on it, but cannot back it up",
		{26, 24, 25}: "cannot use the database",
	} {
		got := Schema{Version: s[0], Known: s[1], Oldest: s[2]}.Newer()
		if !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("database %d, program %d, oldest %d: %q", s[0], s[1], s[2], got)
		}
	}
}
