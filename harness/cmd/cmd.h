/* The commands: each takes its own arguments (argv[0] is its name) and returns the exit code:
 * 0 ok, 1 failed or regressed, 2 usage, 3 not comparable. */
#ifndef DUO_CMD_CMD_H
#define DUO_CMD_CMD_H

int cmd_eval(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_prune(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_rerun(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_fetch(int argc, char **argv);
int cmd_report(int argc, char **argv);

/* The program's revision, "v1.2-3-gabc" or a hash, "-dirty" where the tree was changed. */
extern const char duo_git[];
/* The compiler and its options, "gcc 12.2.0 -g -O3 ...". */
extern const char duo_build[];

/* The folder of the embedded demo (model/, and data sets beside it): $DUO_DEMO, or data/demo beside
 * the build folder or in the working directory. NULL where there is none. The caller frees it. */
char *demo_dir(void);

#endif
