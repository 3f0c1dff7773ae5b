"""What the pages say, in English and Chinese."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class Texts(Struct, frozen=True):
    """The texts of one language; `errors` are the titles of errors by their HTTP status."""

    language: str
    login: str
    login_by: str
    or_by: str
    name: str
    password: str
    wrong: str
    locked: str
    form_old: str
    ended: str
    login_old: str
    login_old_why: str
    login_refused: str
    login_refused_why: str
    to_login: str
    account: str
    known_by: str
    groups: str
    no_groups: str
    administrator: str
    log_out: str
    tokens: str
    tokens_why: str
    no_tokens: str
    token_name: str
    made_at: str
    ends_at: str
    used_at: str
    never: str
    may: str
    all_of_mine: str
    pull_only: str
    pull_and_push: str
    repositories: str
    repositories_why: str
    lives: str
    days: str
    for_ever: str
    make: str
    revoke: str
    revoke_name: str
    made: str
    made_why: str
    sessions: str
    this_session: str
    since: str
    seen_at: str
    address: str
    end: str
    end_since: str
    request: str
    errors: Mapping[int, str]


_ENGLISH: Final = Texts(
    language="en",
    login="Log in",
    login_by="Log in with {}",
    or_by="or with a name and password",
    name="Name",
    password="Password",  # noqa: S106 - a word
    wrong="Wrong name or password.",
    locked="Too many failed logins. Wait a while before the next.",
    form_old="This form is too old, or your browser keeps no cookies. Please try again.",
    ended="You are logged out. At your provider you may still be logged in.",
    login_old="This login can't go on",
    login_old_why="It took too long, was begun in another browser, or is done already.",
    login_refused="You can't log in here",
    login_refused_why="The provider or this registry doesn't let you in. Ask its administrator.",
    to_login="To the login",
    account="Your account",
    known_by="Logged in by",
    groups="Groups",
    no_groups="none",
    administrator="You are an administrator.",
    log_out="Log out",
    tokens="Personal access tokens",
    tokens_why="For docker login and for scripts, in place of a password.",
    no_tokens="You have none.",
    token_name="Name",  # noqa: S106
    made_at="Made",
    ends_at="Ends",
    used_at="Last used",
    never="never",
    may="May",
    all_of_mine="whatever I may",
    pull_only="pull",
    pull_and_push="pull and push",
    repositories="Repositories",
    repositories_why="such as team-a/** for all below team-a",
    lives="Good for",
    days="{} days",
    for_ever="as long as possible",
    make="Make a token",
    revoke="Revoke",
    revoke_name="Revoke the token {}",
    made="Your new token",
    made_why="Copy it now: it is shown this once.",
    sessions="Sessions",
    this_session="this one",
    since="Since",
    seen_at="Last used",
    address="Address",
    end="End",
    end_since="End the session since {}",
    request="Request",
    errors={
        400: "The request is not right",
        403: "You may not do this",
        404: "There is no such page",
        408: "The request stopped arriving",
        413: "The request is too large",
        429: "Too many requests",
        431: "The request is too large",
        500: "The registry failed",
        503: "The registry can't do this just now",
    },
)

_CHINESE: Final = Texts(
    language="zh-CN",
    login="登录",
    login_by="使用 {} 登录",
    or_by="或使用用户名和密码",
    name="用户名",
    password="密码",  # noqa: S106
    wrong="用户名或密码错误。",
    locked="登录失败次数过多，请稍后再试。",
    form_old="此表单已过期，或浏览器未保存 Cookie，请重试。",
    ended="您已退出登录。身份提供方处可能仍保持登录状态。",
    login_old="此次登录无法继续",
    login_old_why="耗时过长、在另一浏览器中发起，或已经完成。",
    login_refused="您无法在此登录",
    login_refused_why="身份提供方或本仓库拒绝了登录，请联系管理员。",
    to_login="前往登录",
    account="您的账户",
    known_by="登录方式",
    groups="用户组",
    no_groups="无",
    administrator="您是管理员。",
    log_out="退出登录",
    tokens="个人访问令牌",
    tokens_why="用于 docker login 和脚本，代替密码。",
    no_tokens="暂无令牌。",
    token_name="名称",  # noqa: S106
    made_at="创建时间",
    ends_at="到期时间",
    used_at="最近使用",
    never="从未",
    may="权限",
    all_of_mine="与本人相同",
    pull_only="拉取",
    pull_and_push="拉取和推送",
    repositories="仓库",
    repositories_why="例如 team-a/** 表示 team-a 下的全部仓库",
    lives="有效期",
    days="{} 天",
    for_ever="尽可能长",
    make="创建令牌",
    revoke="撤销",
    revoke_name="撤销令牌 {}",
    made="您的新令牌",
    made_why="请立即复制：仅显示这一次。",
    sessions="会话",
    this_session="当前会话",
    since="开始时间",
    seen_at="最近使用",
    address="地址",
    end="结束",
    end_since="结束始于 {} 的会话",
    request="请求",
    errors={
        400: "请求有误",
        403: "您无权执行此操作",
        404: "页面不存在",
        408: "请求中断",
        413: "请求过大",
        429: "请求过多",
        431: "请求过大",
        500: "仓库发生故障",
        503: "仓库暂时无法处理",
    },
)


def find_texts(accepted: str) -> Texts:
    """Return the texts in the first language that a header `Accept-Language` prefers and that there
    is; English if there is none.
    """
    ranked = sorted(map(_weighed, accepted[:1024].split(",")), key=lambda entry: -entry[0])
    for weight, language in ranked:
        if weight > 0 and language == "zh":
            return _CHINESE
        if weight > 0 and language == "en":
            return _ENGLISH
    return _ENGLISH


def _weighed(entry: str) -> tuple[float, str]:
    """Return the weight of an entry of `Accept-Language` and its language (RFC 9110, 12.5.4)."""
    named, _, parameter = entry.partition(";")
    text = parameter.strip().removeprefix("q=")
    try:
        weight = float(text) if parameter else 1.0
    except ValueError:
        weight = 0.0
    return weight, named.strip().lower().partition("-")[0]
