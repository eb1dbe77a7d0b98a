package prompt

import "testing"

func builtin(t testing.TB) *Library {
	t.Helper()
	l, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return l
}
