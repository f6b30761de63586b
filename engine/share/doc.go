// Package share reads and writes the files of one folder: on an SMB share
// (Dial) or in a local directory (Dir). Parse reads where a file is.
//
// It guarantees that a file opened for reading is not changed, not even its
// modification time; that CreateExcl makes a file for one caller only, and that
// Rename asks the server not to replace (Store.Rename says what that is worth);
// that reads survive lost connections and a server that is away for a while, and
// give the bytes of one version of the file or job.SourceChanged; that a writer
// whose connection is lost fails; that nothing outlives the context given to
// Dial, whatever the network does; and that every failure is a *job.Error with
// code and remedy, except that a cancelled context gives a plain error that
// wraps context.Canceled. errors.Is with fs.ErrNotExist, which means that
// nothing has the name of the file, and with fs.ErrExist works.
//
// It does not copy on the server's side (both SMB libraries get copies beyond
// 16 MiB wrong: TestLibrariesCopyWrongly), does not read ahead, does not follow
// DFS referrals, and knows nothing of what is in the files. What a client that
// lost power had open cannot be removed or renamed until the server gives that
// client up: the libraries open everything without FILE_SHARE_DELETE, with no
// way to ask for it, and so does their Remove.
package share
