package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"tandem/internal/transfer"
)

func TestHowFarACopyOrRestorationCameIsSaidAndWhatIsToBeDone(t *testing.T) {
	const goOn = ", and no server starts on the target until the same command has gone on to its end"
	broke := errors.New("target: it broke")
	stopped := fmt.Errorf("source: %w", context.Canceled)
	full := fmt.Errorf("target: %w: table call has rows", transfer.ErrNotEmpty)
	for want, got := range map[string]error{
		"nothing was copied: target: it broke":                                                           unfinished("copied", transfer.Report{}, broke, "x"),
		"not everything was copied" + goOn + ": target: it broke":                                        unfinished("copied", transfer.Report{Begun: true}, broke, "x"),
		"interrupted: not everything was restored" + goOn:                                                unfinished("restored", transfer.Report{Begun: true}, stopped, "x"),
		"interrupted: nothing was copied":                                                                unfinished("copied", transfer.Report{}, stopped, "x"),
		"nothing was copied: target: it is not empty: table call has rows: take an empty one (createdb)": unfinished("copied", transfer.Report{}, full, "take an empty one (createdb)"),
		"interrupted: no backup was made":                                                                interrupted(stopped, "no backup was made"),
	} {
		if got.Error() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestThePasswordOfATargetOnPostgreSQLComesFromWhereAServerHasIt(t *testing.T) {
	p := &program{Process: Process{Environ: []string{"TANDEM_DATABASE_PASSWORD=hunter2", "TANDEM_DATABASE_URL=sqlite:x", "TANDEM_HTTP_LISTEN=nonsense"}}}
	cmd := p.copyCommand()
	const url = "postgres://tandem@db/tandem"
	c, err := p.database(cmd, "to", url, p.passwordOf(url))
	if err != nil || c.PostgresURL().Reveal() != "postgres://tandem:hunter2@db/tandem" {
		t.Errorf("%v, %v", c.DatabaseURL, err)
	}
	if c, err = p.database(cmd, "to", "sqlite:b.db", p.passwordOf("sqlite:b.db")); err != nil || !c.DatabasePassword.Empty() {
		t.Errorf("SQLite: %v", err)
	}
}
