// Package share reads and writes the files of one folder: on an SMB share
// (Dial) or in a local directory (Dir).
//
// It guarantees that a file opened for reading is not changed, not even its
// modification time; that CreateExcl makes a file for one caller only, and that
// Rename asks the server not to replace (Store.Rename says what that is worth);
// that nothing outlives the context given to Dial, whatever the network does;
// and that every failure is a *job.Error with code and remedy, except that a
// cancelled context gives a plain error that wraps context.Canceled. errors.Is
// with fs.ErrNotExist and fs.ErrExist works.
//
// It does not copy on the server's side (both SMB libraries get copies beyond
// 16 MiB wrong), does not read ahead, does not follow DFS referrals, and knows
// nothing of what is in the files.
package share
