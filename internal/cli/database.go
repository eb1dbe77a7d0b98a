package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/app"
	"tandem/internal/config"
	"tandem/internal/transfer"
)

// These commands work on the database itself, not over the HTTP API.

func (p *program) copyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "copy", Short: "Copy a database into another, of SQLite or PostgreSQL", Args: exactly(), GroupID: groupRun,
		Long: "Copy a whole database into an empty one: rows, the order of events, the chain of the audit log. Stop all\n" +
			"servers on both first. If it is interrupted, the same command goes on where it was; until it is finished no\n" +
			"server starts on the target. At the end the rows of each table are counted and compared.\n\n" +
			"Keys are not in a database: the server on the target needs the same master.key in its data folder, and the\n" +
			"same blob_url to find recordings.",
		Example: "  tandem copy --from sqlite:./data/tandem.db --to postgres://tandem@db.example/tandem?sslmode=verify-full",
	}
	from := cmd.Flags().String("from", "", "database to read, written like the setting database_url")
	to := cmd.Flags().String("to", "", "database to fill, the same way; its password may be in TANDEM_DATABASE_PASSWORD or …_FILE, the source's in the URL, PGPASSWORD or PGPASSFILE")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		source, err := p.database(cmd, "from", *from, nil)
		if err != nil {
			return err
		}
		target, err := p.database(cmd, "to", *to, p.passwordOf(*to))
		if err != nil {
			return err
		}
		r, err := app.Copy(cmd.Context(), source, target, p.transferOptions())
		if err != nil {
			return unfinished("copied", r, err, "take an empty one (createdb)")
		}
		missing := "NOT in the database, and needed where it is served from now:\n" +
			"  master.key of the data folder (without it no token is known and no password, key or call state can be read)\n" +
			"  recordings, if blob_url was a folder; and what still waits in the folder spool\n" +
			"  call records that wait in the folder journal: a server on the same data folder writes them when it starts"
		folder, err := app.Unwritten(source)
		if err != nil {
			return err
		}
		if folder != "" {
			missing += "\nWARNING: call records wait in " + folder + "; they are lost if the server starts on another data folder"
		}
		return p.reportTransfer(r, "copied", missing)
	}
	return cmd
}

func (p *program) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write the whole database to a file, while servers run", Args: exactly("FILE"), GroupID: groupRun,
		Long: "Write the whole database, of one moment, to a file that is not there yet. Servers go on meanwhile. The file\n" +
			"is there once it is complete and was read again. It has telephone numbers in it; only its owner may read it.\n\n" +
			"It has NO master.key, NO recordings, and no call records that still wait in a node's data folder. A run that\n" +
			"is killed leaves FILE.….partial: remove it.",
	}
	settings := settingsOn(cmd, append(databaseSettings(), "blob-url")...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := settings.load(p, cmd)
		if err != nil {
			return err
		}
		r, err := app.Backup(cmd.Context(), c, args[0], p.transferOptions())
		if err != nil {
			return interrupted(err, "no backup was made")
		}
		return p.reportTransfer(r, "written to "+args[0], "NOT in it, and to be kept too:\n"+
			"  "+filepath.Join(c.DataDir, "master.key")+" (without it no token is known and no password, key or call state can be read)\n"+
			"  recordings: "+recordingsOf(c)+", and what waits in "+filepath.Join(c.DataDir, "spool")+"\n"+
			"  call records that are not in the database yet: "+app.Journal(c)+" of each node")
	}
	return cmd
}

// recordingsOf says where recordings are.
func recordingsOf(c config.Config) string {
	if c.BlobURL == "file:" {
		return filepath.Join(c.DataDir, "recordings")
	}
	return c.BlobURL
}

func (p *program) restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Put a backup into the database of the settings", Args: exactly("FILE"), GroupID: groupRun,
		Long: "Read a backup through first (its pages, its rows, the chain of its audit log), and then put it into the\n" +
			"database that the settings name. That must be empty, or --replace be given, and no server may run on it. If it\n" +
			"is interrupted, the same command goes on (with --replace it begins anew); until it is finished no server\n" +
			"starts on the database.",
	}
	settings := settingsOn(cmd, append(databaseSettings(), "blob-url")...)
	replace := cmd.Flags().Bool("replace", false, "remove what the database has now")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := settings.load(p, cmd)
		if err != nil {
			return err
		}
		o := p.transferOptions()
		o.Replace = *replace
		r, taken, err := app.Restore(cmd.Context(), c, args[0], o)
		if err != nil {
			return unfinished("restored", r, err, "--replace removes what it has")
		}
		return p.reportTransfer(r, "restored, as of "+taken.Format(time.RFC3339), "Needed before a server starts: the master.key of then in "+c.DataDir+
			", and the recordings of then in "+recordingsOf(c))
	}
	return cmd
}

// unfinished says how far something came that fills a database, and what is to be done
// where that was not empty.
func unfinished(done string, r transfer.Report, err error, full string) error {
	switch {
	case errors.Is(err, transfer.ErrNotEmpty):
		err = fmt.Errorf("%w: %s", err, full)
	case r.Begun:
		return interrupted(err, "not everything was "+done+", and no server starts on the target until the same command has gone on to its end")
	}
	return interrupted(err, "nothing was "+done)
}

// interrupted says what became of a command that failed or was interrupted.
func interrupted(err error, became string) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: " + became)
	}
	return fmt.Errorf("%s: %w", became, err)
}

// database reads a database_url that a flag gives; environ may have a password for it.
func (p *program) database(cmd *cobra.Command, flag, url string, environ []string) (config.Config, error) {
	if url == "" {
		return config.Config{}, misusef(cmd, "--%s is missing", flag)
	}
	c, err := config.Load(config.Sources{Environ: environ, Flags: map[string]string{"database-url": url}})
	if err != nil {
		return c, misusef(cmd, "--%s: %w", flag, err)
	}
	return c, nil
}

// passwordOf keeps of the environment the settings of a password that a server on the
// target has too, if it is one of PostgreSQL.
func (p *program) passwordOf(target string) []string {
	if !strings.HasPrefix(target, "postgres") {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.Environ), func(pair string) bool { return !strings.HasPrefix(pair, "TANDEM_DATABASE_PASSWORD") })
}

func (p *program) transferOptions() app.TransferOptions {
	return app.TransferOptions{Log: slog.New(slog.DiscardHandler), Progress: (&progressLines{to: p.Err}).tell}
}

// progressEvery is how often a long table says how far it is.
const progressEvery = 2 * time.Second

// progressLines tells of each table when it is done, and now and then before.
type progressLines struct {
	to   io.Writer
	last time.Time
}

func (l *progressLines) tell(p transfer.Progress) {
	now := time.Now()
	if p.Total == 0 || p.Done < p.Total && now.Sub(l.last) < progressEvery {
		return
	}
	l.last = now
	// A lost stderr cannot be reported anywhere.
	_, _ = fmt.Fprintf(l.to, "%s: %d of %d rows\n", p.Table, p.Done, p.Total)
}

// reportTransfer says what was done, and what was not.
func (p *program) reportTransfer(r transfer.Report, done, missing string) error {
	total := int64(0)
	for _, t := range r.Tables {
		total += t.Done
	}
	how := ""
	if r.Resumed {
		how = fmt.Sprintf(", %d of them by a run before", total-r.Rows)
	}
	_, err := fmt.Fprintf(p.Out, "%s: %d rows in %d tables%s; the counts agree\n%s\n", done, total, len(r.Tables), how, missing)
	return err
}
